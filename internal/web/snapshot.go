package web

import (
	"encoding/json"
	"time"
)

// The snapshot as the page gets it. Times are milliseconds before the snapshot, so that clocks need not agree;
// -1 is never.
type snapshot struct {
	Version  string      `json:"version"`
	Devices  int         `json:"devices"` // in the table; the list may be shorter
	Adverts  uint64      `json:"adverts"`
	Switches uint64      `json:"switches"`
	Proxies  []pageProxy `json:"proxies"`
	List     []pageDev   `json:"list"`
	Ready    string      `json:"notReady,omitempty"`
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
	Address   string `json:"address"`
	Name      string `json:"name,omitempty"`
	Connected bool   `json:"connected,omitempty"`
	Heard     int64  `json:"heard"`
	// Sources are [index in proxies, dBm (0 unknown), milliseconds ago, 1 if it speaks for the device].
	Sources [][4]int64 `json:"sources"`
}

func encode(src Source, version string, now time.Time) []byte {
	ago := func(t time.Time) int64 {
		if t.IsZero() {
			return -1
		}
		return max(0, now.Sub(t).Milliseconds())
	}
	air := src.Air()
	s := snapshot{
		Version: text(version), Devices: air.Devices, Adverts: air.Adverts, Switches: air.Switches,
		Proxies: []pageProxy{}, List: []pageDev{},
	}
	if err := src.Ready(); err != nil {
		s.Ready = message(err.Error())
	}
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
			Limit: -1, Slots: []pageSlot{}, Hosts: hosts[p.Name],
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
	for _, d := range src.Devices(maxDevices) {
		pd := pageDev{
			Address: d.Address.String(), Name: text(d.Name), Connected: d.Connected, Heard: ago(d.LastHeard),
			Sources: [][4]int64{},
		}
		for _, so := range d.Sources {
			if i, ok := index[so.Proxy]; ok {
				pd.Sources = append(pd.Sources, [4]int64{i, int64(so.RSSI), ago(so.LastHeard), int64(one(so.Owner))})
			}
		}
		s.List = append(s.List, pd)
	}
	out, err := json.Marshal(s)
	if err != nil {
		return []byte("{}") // there is nothing in it that cannot be encoded
	}
	return out
}
