package web

import (
	"time"

	"bluez-esphome/internal/ble"
)

// view reads from the Source what the page shows, again and again into the same memory. It is for one goroutine at a
// time.
type view struct {
	src     Source
	version string
	rates   *rates

	proxies   []string // their names, by number
	devices   []ble.Heard
	connected map[ble.Address]bool
	survey    survey

	tried    uint64                 // Source.Tried when troubles and log were read
	triedAt  time.Time              // when they were read
	troubles map[ble.Address]string // the last failure of each device, in words
	log      []pageTry
}

func newView(src Source, version string) *view {
	return &view{src: src, version: version, rates: newRates(), connected: map[ble.Address]bool{}}
}

// hear reads which of the proxies hears which device.
func (v *view) hear(proxies []Proxy) {
	v.proxies = v.proxies[:0]
	for _, p := range proxies {
		v.proxies = append(v.proxies, p.Name)
	}
	v.devices = v.src.Devices(v.devices[:0], maxDevices, proxies)
}

// namesAfter is the age at which the log is read again although nothing happened: devices may have got names.
const namesAfter = 10 * time.Second

// look reads everything. The snapshot that it returns lacks the devices, which it leaves in v, and the advice.
func (v *view) look(now time.Time) *snapshot {
	proxies := v.src.Proxies()
	v.hear(proxies)
	air := v.src.Air()
	s := &snapshot{
		Now: now.UnixMilli(), Version: text(v.version), Devices: air.Devices, Adverts: air.Adverts, Switches: air.Switches,
		Proxies: make([]pageProxy, 0, len(proxies)), List: []pageDev{}, Remarks: []string{}, Rate: v.rates.of("", air.Adverts, now),
	}
	for _, r := range v.src.Remarks() {
		s.Remarks = append(s.Remarks, message(r))
	}
	if err := v.src.Ready(); err != nil {
		s.Ready = message(err.Error())
	}
	s.Controllers = pageControllers(v.src.Controllers(), now)
	hosts := map[string][]pageHost{}
	for _, sh := range v.src.Shares() {
		for _, u := range sh.Users {
			hosts[sh.Proxy] = append(hosts[sh.Proxy], pageHost{text(u.Name), text(u.Has)})
		}
	}
	for i := range proxies {
		p := pageProxyOf(&proxies[i], now)
		p.Rate, p.Hosts = v.rates.of(proxies[i].Name, proxies[i].Adverts, now), hosts[proxies[i].Name]
		s.Proxies = append(s.Proxies, p)
	}
	clear(v.connected)
	for _, a := range Connected(proxies) {
		v.connected[a] = true
	}
	v.attempts(now)
	s.Log = v.log
	if st, on := v.src.Stream(); on {
		s.Stream = pageStreamOf(&st)
	}
	return s
}

// attempts reads the failures and the log of connections, if they changed.
func (v *view) attempts(now time.Time) {
	tried := v.src.Tried()
	if v.log != nil && tried == v.tried && now.Sub(v.triedAt) < namesAfter {
		return
	}
	v.tried, v.triedAt, v.troubles, v.log = tried, now, v.src.Troubles(), []pageTry{}
	for a, what := range v.troubles {
		v.troubles[a] = message(what)
	}
	for _, c := range v.src.Connects(loggedTries) {
		v.log = append(v.log, tryOf(c))
	}
}

// list describes the devices with their present signals.
func (v *view) list(now time.Time) []pageDev {
	out := make([]pageDev, 0, len(v.devices))
	for i := range v.devices {
		h := &v.devices[i]
		d := v.device(h, now)
		for _, s := range h.Signals {
			d.Sources = append(d.Sources, [4]int64{int64(s.Proxy), int64(s.RSSI), ago(s.LastHeard, now), int64(one(s.Owner))})
		}
		out = append(out, d)
	}
	return out
}

// device describes a device without its signals.
func (v *view) device(h *ble.Heard, now time.Time) pageDev {
	return pageDev{
		Address: h.Address.String(), Name: text(h.Name), Connected: v.connected[h.Address], Heard: ago(h.LastHeard, now),
		Error: v.troubles[h.Address], Sources: make([][4]int64, 0, len(h.Signals)),
	}
}

// once makes a whole snapshot, with signals that are not smoothed.
func (v *view) once(now time.Time) *snapshot {
	s := v.look(now)
	v.survey.begin(len(v.proxies), v.devices)
	for i := range v.devices {
		row := v.survey.row(i)
		for _, sig := range v.devices[i].Signals {
			if counts(&sig, now.Sub(sig.LastHeard)) {
				row[sig.Proxy] = sig.RSSI
			}
		}
	}
	s.Advice = v.advise()
	s.List = v.list(now)
	return s
}
