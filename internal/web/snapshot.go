package web

import (
	"encoding/json"
	"time"
)

// The snapshot as the page gets it. Times are milliseconds before the snapshot, so that clocks need not agree;
// -1 is never.
type snapshot struct {
	Now      int64       `json:"now"` // milliseconds since 1970
	Version  string      `json:"version"`
	Devices  int         `json:"devices"` // in the table; the list may be shorter
	Adverts  uint64      `json:"adverts"`
	Switches uint64      `json:"switches"`
	Proxies  []pageProxy `json:"proxies"`
	List     []pageDev   `json:"list"`
	// Controllers are the virtual ones.
	Controllers []pageController `json:"controllers"`
	Ready       string           `json:"notReady,omitempty"`
	Rate        float64          `json:"rate"` // advertisements a second, -1 unknown
	Remarks     []string         `json:"remarks"`
	Log         []pageTry        `json:"log"` // the last calls of Connect, the newest first
	Advice      pageAdvice       `json:"advice"`
}

type pageProxy struct {
	Name    string     `json:"name"`
	Host    string     `json:"host"`
	State   string     `json:"state"`
	Error   string     `json:"error,omitempty"`
	Version string     `json:"version"`
	Scan    string     `json:"scan"`
	Adverts uint64     `json:"adverts"`
	Owned   int        `json:"owned"`
	Heard   int64      `json:"heard"`
	Rate    float64    `json:"rate"` // advertisements a second, -1 unknown
	Link    string     `json:"linkError,omitempty"`
	Note    string     `json:"note,omitempty"`
	Lacks   []string   `json:"lacks,omitempty"`
	Limit   int        `json:"limit"` // -1 unknown
	Free    int        `json:"free"`
	Slots   []pageSlot `json:"slots"`
	Hosts   []pageHost `json:"hosts,omitempty"` // that share it
}

type pageHost struct {
	Name string `json:"name"`
	Has  string `json:"has"`
}

type pageSlot struct {
	Address string   `json:"address"`
	Name    string   `json:"name,omitempty"`
	State   string   `json:"state"`
	Owners  []string `json:"owners"`
}

type pageDev struct {
	Number    int64  `json:"n,omitempty"` // of the stream
	Address   string `json:"address"`
	Name      string `json:"name,omitempty"`
	Connected bool   `json:"connected,omitempty"`
	Heard     int64  `json:"heard"`
	Error     string `json:"error,omitempty"`
	// Sources are [index in proxies, dBm (0 unknown), milliseconds ago, 1 if it speaks for the device].
	Sources [][4]int64 `json:"sources"`
}

// pageTry is one call of Connect.
type pageTry struct {
	At      int64    `json:"at"` // milliseconds since 1970
	Address string   `json:"address"`
	Name    string   `json:"name,omitempty"`
	Asked   []string `json:"asked,omitempty"`
	Tries   []string `json:"tries,omitempty"`   // in words
	Proxies []string `json:"proxies,omitempty"` // that were tried
	Result  string   `json:"result"`            // a word; "" is under way
	What    string   `json:"what"`              // in words
	Failed  bool     `json:"failed,omitempty"`
}

// pageAdvice is where proxies are wanted.
type pageAdvice struct {
	Proxies []pageWorth `json:"proxies"` // in the order of the snapshot's
	Weak    int         `json:"weak"`    // devices that nobody hears better than advice.Weak
	Spot    string      `json:"spot,omitempty"`
	SpotOf  string      `json:"spotName,omitempty"`
	Serves  int         `json:"serves,omitempty"`
}

type pageWorth struct {
	Hears int      `json:"hears"`
	Best  int      `json:"best"`
	Only  int      `json:"only"`
	Lost  []string `json:"lost,omitempty"` // names or addresses, the first few
	Loses int      `json:"loses"`
}

// loggedTries is how many calls of Connect the page shows.
const loggedTries = 60

// encode writes what is sent.
func encode(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		return []byte("{}") // there is nothing in it that cannot be encoded
	}
	return out
}

// take makes a snapshot.
func take(src Source, version string, now time.Time, rates *rates) *snapshot {
	ago := func(t time.Time) int64 {
		if t.IsZero() {
			return -1
		}
		return max(0, now.Sub(t).Milliseconds())
	}
	air := src.Air()
	s := snapshot{
		Now:     now.UnixMilli(),
		Version: text(version), Devices: air.Devices, Adverts: air.Adverts, Switches: air.Switches,
		Proxies: []pageProxy{}, List: []pageDev{}, Remarks: []string{}, Log: []pageTry{}, Rate: rates.of("", air.Adverts, now),
	}
	for _, r := range src.Remarks() {
		s.Remarks = append(s.Remarks, message(r))
	}
	for _, c := range src.Connects(loggedTries) {
		s.Log = append(s.Log, tryOf(c))
	}
	if err := src.Ready(); err != nil {
		s.Ready = message(err.Error())
	}
	s.Controllers = pageControllers(src.Controllers(), now)
	index, hosts := map[string]int64{}, map[string][]pageHost{}
	for _, sh := range src.Shares() {
		for _, u := range sh.Users {
			hosts[sh.Proxy] = append(hosts[sh.Proxy], pageHost{text(u.Name), text(u.Has)})
		}
	}
	for i, p := range src.Proxies() {
		index[p.Name] = int64(i)
		pp := pageProxy{
			Name: text(p.Name), Host: text(p.Host), State: text(p.State), Error: message(p.LastError), Version: text(p.Version),
			Scan: text(p.ScanMode), Adverts: p.Adverts, Owned: p.Owned, Heard: ago(p.LastHeard),
			Limit: -1, Slots: []pageSlot{}, Rate: rates.of(p.Name, p.Adverts, now), Link: message(p.LinkError), Note: message(p.Note), Hosts: hosts[p.Name],
		}
		for _, l := range p.Lacks {
			pp.Lacks = append(pp.Lacks, message(l))
		}
		if p.SlotsKnown {
			pp.Limit, pp.Free = p.SlotLimit, p.SlotFree
		}
		for _, sl := range p.Slots {
			ps := pageSlot{Address: sl.Address.String(), Name: text(sl.Name), State: text(sl.State), Owners: []string{}}
			for _, o := range sl.Owners {
				ps.Owners = append(ps.Owners, text(o))
			}
			pp.Slots = append(pp.Slots, ps)
		}
		s.Proxies = append(s.Proxies, pp)
	}
	devices := src.Devices(maxDevices)
	s.Advice = adviceOf(index, devices, now)
	for _, d := range devices {
		pd := pageDev{
			Address: d.Address.String(), Name: text(d.Name), Connected: d.Connected, Heard: ago(d.LastHeard), Error: message(d.LastError),
			Sources: [][4]int64{},
		}
		for _, so := range d.Sources {
			if i, ok := index[so.Proxy]; ok {
				pd.Sources = append(pd.Sources, [4]int64{i, int64(so.RSSI), ago(so.LastHeard), int64(one(so.Owner))})
			}
		}
		s.List = append(s.List, pd)
	}
	return &s
}
