package status

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Select returns the part of the report about a proxy with that name, or else about a device with that name, alias or
// address. The error lists the names that there are.
func (r *Report) Select(name string) (*Report, error) {
	out := &Report{
		Bus: r.Bus, Others: r.Others, Configuration: r.Configuration, Proxies: []Proxy{}, Adapters: []Adapter{}, Shared: []Shared{}, Devices: []Device{}, Heard: []Heard{}, Connects: []Connect{},
		guessed: r.guessed, about: name,
	}
	hears := func(sources []Source) bool {
		return slices.ContainsFunc(sources, func(s Source) bool { return s.Proxy == name })
	}
	for _, p := range r.Proxies {
		if p.Name == name {
			out.Proxies = append(out.Proxies, p)
		}
	}
	if len(out.Proxies) > 0 {
		out.Adapters = only(r.Adapters, func(a Adapter) bool { return a.Proxy == name })
		out.Devices = append(out.Devices, only(r.Devices, func(d Device) bool { return hears(d.Sources) })...)
		out.Heard = append(out.Heard, only(r.Heard, func(h Heard) bool { return hears(h.Sources) })...)
		out.Connects = append(out.Connects, only(r.Connects, func(c Connect) bool {
			return c.Proxy == name || slices.ContainsFunc(c.Tries, func(t Try) bool { return t.Proxy == name })
		})...)
		out.Shared = only(r.Shared, func(s Shared) bool { return s.Proxy == name })
		return out, nil
	}
	same := func(s string) bool { return strings.EqualFold(s, name) }
	chosen := map[string]bool{}
	out.Devices = append(out.Devices, only(r.Devices, func(d Device) bool { return same(d.Address) || same(d.Name) || same(d.Alias) })...)
	for _, d := range out.Devices {
		chosen[d.Address] = true
	}
	out.Heard = append(out.Heard, only(r.Heard, func(h Heard) bool { return same(h.Address) || same(h.Name) || chosen[h.Address] })...)
	for _, h := range out.Heard {
		chosen[h.Address] = true
	}
	out.Connects = append(out.Connects, only(r.Connects, func(c Connect) bool { return same(c.Device) || chosen[c.Device] })...)
	if len(out.Devices)+len(out.Heard)+len(out.Connects) == 0 {
		return nil, fmt.Errorf("there is no proxy and no device %q; the proxies: %s; bluez-esphome devices lists the devices%s", name, r.Names(), r.Elsewhere())
	}
	return out, nil
}

func only[T any](list []T, wanted func(T) bool) []T {
	out := []T{}
	for _, v := range list {
		if wanted(v) {
			out = append(out, v)
		}
	}
	return out
}

// PrintSelected writes everything about the proxy or device that Select found.
func (r *Report) PrintSelected(w io.Writer, now time.Time) {
	if len(r.Proxies) > 0 {
		r.PrintProxy(w, now, r.about)
		return
	}
	addresses := []string{}
	add := func(a string) {
		if !slices.Contains(addresses, a) {
			addresses = append(addresses, a)
		}
	}
	for _, h := range r.Heard {
		add(h.Address)
	}
	for _, d := range r.Devices {
		add(d.Address)
	}
	for _, c := range r.Connects {
		add(c.Device)
	}
	for i, a := range addresses {
		if i > 0 {
			fmt.Fprintln(w)
		}
		r.printDevice(w, now, a)
	}
}

// printDevice writes everything about one device.
func (r *Report) printDevice(w io.Writer, now time.Time, address string) {
	line := func(name, text string) { detail(w, name, text) }
	heard := Heard{Address: address}
	for _, h := range r.Heard {
		if h.Address == address {
			heard = h
		}
	}
	connects := only(r.Connects, func(c Connect) bool { return c.Device == address })
	wrap(w, "", "", dash(heard.Name))
	kind := address
	if heard.AddressType != "" {
		kind += ", " + heard.AddressType
	}
	line("address", kind)
	switch {
	case heard.Connected && len(connects) > 0 && connects[0].Proxy != "":
		line("state", fmt.Sprintf("connected through %s for %s; a device that is connected often does not advertise",
			connects[0].Proxy, ago(connects[0].At, now)))
	case heard.Connected:
		line("state", "connected")
	default:
		line("state", "not connected")
	}
	var on []string
	for _, d := range r.Devices {
		if d.Address == address {
			text := d.Adapter
			if d.Paired {
				text += ", paired"
			}
			on = append(on, text)
		}
	}
	if len(on) == 0 {
		on = []string{"no; it comes when a program discovers (bluetoothctl scan le)"}
	}
	line("on the bus", strings.Join(on, "; "))
	if heard.LastError != "" {
		line("error", heard.LastError)
	}
	line("heard", agoLong(heard.LastHeard, now))
	for i, s := range strongest(heard.Sources) {
		name, owner := "", ""
		if i == 0 {
			name = "heard by"
		}
		if s.Owner {
			owner = ", its owner"
		}
		line(name, fmt.Sprintf("%s %d dBm, %s%s", s.Proxy, s.RSSI, agoLong(s.LastHeard, now), owner))
	}
	printConnects(w, now, connects)
}

// printConnects writes the last calls of Connect with each proxy that was tried.
func printConnects(w io.Writer, now time.Time, connects []Connect) {
	const most = 8
	for i, c := range connects[:min(most, len(connects))] {
		name := ""
		if i == 0 {
			name = "connects"
		}
		detail(w, name, fmt.Sprintf("%s ago: %s", ago(c.At, now), c.what()))
		for _, t := range c.Tries {
			wrap(w, strings.Repeat(" ", 15), strings.Repeat(" ", 17), t.what())
		}
	}
}
