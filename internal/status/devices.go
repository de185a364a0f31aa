package status

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Sorts are the orders of a DevicesView.
var Sorts = []string{"name", "address", "rssi", "weak", "heard"}

// A DevicesView says which devices are listed and how.
type DevicesView struct {
	// Sort is one of Sorts; "" is name. weak puts the weakest first: these devices want another proxy nearby.
	Sort string
	// Proxy leaves only what that proxy hears, Match only what has this in its name or address.
	Proxy, Match string
	OnBus        bool // only those that are on the bus
	Width        int  // of the terminal, in characters; 0 for no limit
}

// shownSources is how many of the proxies that hear a device are named.
const shownSources = 3

// choose gives the devices of the view, in its order.
func (v *DevicesView) choose(r *Report) []Heard {
	list := slices.Clone(r.Heard)
	seen := map[string]bool{}
	for _, h := range list {
		seen[h.Address] = true
	}
	for _, d := range r.Devices { // on the bus, and not heard lately
		if !seen[d.Address] {
			seen[d.Address] = true
			list = append(list, Heard{Address: d.Address, Name: d.Name, RSSI: d.RSSI, Connected: d.Connected, OnBus: true, Sources: d.Sources})
		}
	}
	match := strings.ToLower(v.Match)
	list = only(list, func(h Heard) bool {
		return (!v.OnBus || h.OnBus) && (match == "" || strings.Contains(strings.ToLower(h.Name+" "+h.Address), match)) &&
			(v.Proxy == "" || slices.ContainsFunc(h.Sources, func(s Source) bool { return s.Proxy == v.Proxy }))
	})
	rssi := func(h Heard) int {
		best := -128
		for _, s := range h.Sources {
			if s.RSSI != 0 && (v.Proxy == "" || s.Proxy == v.Proxy) {
				best = max(best, int(s.RSSI))
			}
		}
		return best
	}
	slices.SortFunc(list, func(a, b Heard) int {
		first := 0
		switch v.Sort {
		case "rssi":
			first = cmp.Compare(rssi(b), rssi(a))
		case "weak":
			first = cmp.Compare(rssi(a), rssi(b))
		case "heard":
			first = cmp.Compare(b.LastHeard, a.LastHeard)
		case "address":
		default:
			first = cmp.Compare(one(a.Name == ""), one(b.Name == ""))
			if first == 0 {
				first = strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
			}
		}
		return cmp.Or(first, strings.Compare(a.Address, b.Address))
	})
	return list
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Filter removes from a report all devices that are not in the view, with their connections, for JSON.
func (v *DevicesView) Filter(r *Report) {
	r.Heard = v.choose(r)
	if v.Match == "" && v.Proxy == "" && !v.OnBus {
		return
	}
	keep := map[string]bool{}
	for _, h := range r.Heard {
		keep[h.Address] = true
	}
	r.Devices = append([]Device{}, only(r.Devices, func(d Device) bool { return keep[d.Address] })...)
	r.Connects = append([]Connect{}, only(r.Connects, func(c Connect) bool { return keep[c.Device] })...)
}

// strongest sorts sources, the strongest first.
func strongest(sources []Source) []Source {
	return slices.SortedStableFunc(slices.Values(sources), func(a, b Source) int {
		return cmp.Or(cmp.Compare(one(a.RSSI == 0), one(b.RSSI == 0)), cmp.Compare(b.RSSI, a.RSSI), strings.Compare(a.Proxy, b.Proxy))
	})
}

// PrintDevices writes the devices as a table. The owner, the proxy through which a connection is tried first, is marked
// by *.
func (r *Report) PrintDevices(w io.Writer, now time.Time, v DevicesView) {
	list := v.choose(r)
	switch {
	case len(list) == 0 && len(r.Heard)+len(r.Devices) > 0:
		hint := "leave out the name or the flags"
		if slices.ContainsFunc(r.Proxies, func(p Proxy) bool { return p.Name == v.Match }) {
			hint = "for those that a proxy hears: --proxy " + v.Match
		}
		fmt.Fprintf(w, "none of %d devices is chosen; %s\n", max(len(r.Heard), len(r.Devices)), hint)
		return
	case len(list) == 0:
		fmt.Fprintln(w, "no device is heard; bluez-esphome status says how the proxies are")
		return
	}
	var lines strings.Builder
	t := table(&lines, "DEVICE\tNAME\tBUS\tRSSI\tSTATE\tHEARD BY (dBm, ago)")
	for _, h := range list {
		rssi, state, bus := "-", "-", "-"
		if h.RSSI != nil {
			rssi = fmt.Sprint(*h.RSSI)
		}
		if h.OnBus {
			bus = "yes"
		}
		switch {
		case h.Connected:
			state = "connected"
		case r.paired(h.Address):
			state = "paired"
			if holder := r.bondHolder(h.Address); holder != "" {
				state += " at " + clip(holder, shortName)
			}
		case h.LastError != "":
			state = "failed"
		}
		row(t, h.Address, clip(dash(h.Name), wideName), bus, rssi, state, heardBy(h.Sources, now))
	}
	t.Flush()
	for line := range strings.Lines(lines.String()) {
		if v.Width > 0 {
			line = clip(strings.TrimSuffix(line, "\n"), v.Width) + "\n"
		}
		_, _ = io.WriteString(w, line)
	}
	if hidden := len(r.Heard) - len(list); hidden > 0 && v.Width > 0 {
		fmt.Fprintf(w, "%d more are heard\n", hidden)
	}
}

func (r *Report) paired(address string) bool {
	return slices.ContainsFunc(r.Devices, func(d Device) bool { return d.Address == address && d.Paired })
}

// heardBy names the strongest proxies and counts the others.
func heardBy(sources []Source, now time.Time) string {
	var out []string
	for i, s := range strongest(sources) {
		if i == shownSources {
			out = append(out, fmt.Sprintf("+%d", len(sources)-i))
			break
		}
		mark := ""
		if s.Owner {
			mark = "*"
		}
		out = append(out, fmt.Sprintf("%s%s %d %s", clip(s.Proxy, shortName+4), mark, s.RSSI, ago(s.LastHeard, now)))
	}
	return strings.Join(out, ", ")
}
