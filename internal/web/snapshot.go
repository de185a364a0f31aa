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
	Stream      *pageStream      `json:"stream,omitempty"` // nil: there is none
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
	Hosts   []pageHost `json:"hosts,omitempty"` // the hosts that share it
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
	Number    int64  `json:"n,omitempty"` // by which later events of the stream name it
	Address   string `json:"address"`
	Name      string `json:"name,omitempty"`
	Connected bool   `json:"connected,omitempty"`
	Heard     int64  `json:"heard"`
	Error     string `json:"error,omitempty"`
	// Sources are [index in proxies, dBm (0 unknown), milliseconds ago, 1 if it is the device's owner].
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

// pageAdvice says what each proxy is worth, and beside which device another one would help most.
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

// encode gives v as JSON.
func encode(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		return []byte("{}") // there is nothing in it that cannot be encoded
	}
	return out
}

// ago is how long before now something was, in milliseconds, -1 for never.
func ago(t, now time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return max(0, now.Sub(t).Milliseconds())
}

// pageProxyOf describes a proxy, without its rate and the hosts that share it.
func pageProxyOf(p *Proxy, now time.Time) pageProxy {
	out := pageProxy{
		Name: text(p.Name), Host: text(p.Host), State: text(p.State), Error: message(p.LastError), Version: text(p.Version),
		Scan: text(p.ScanMode), Adverts: p.Adverts, Owned: p.Owned, Heard: ago(p.LastHeard, now),
		Limit: -1, Slots: []pageSlot{}, Link: message(p.LinkError), Note: message(p.Note),
	}
	for _, l := range p.Lacks {
		out.Lacks = append(out.Lacks, message(l))
	}
	if p.SlotsKnown {
		out.Limit, out.Free = p.SlotLimit, p.SlotFree
	}
	for _, sl := range p.Slots {
		ps := pageSlot{Address: sl.Address.String(), Name: text(sl.Name), State: text(sl.State), Owners: []string{}}
		for _, o := range sl.Owners {
			ps.Owners = append(ps.Owners, text(o))
		}
		out.Slots = append(out.Slots, ps)
	}
	return out
}
