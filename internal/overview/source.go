package overview

import (
	"context"
	"errors"
	"slices"
	"strings"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/stream"
	"bluez-esphome/internal/web"
)

// source shows an Overview on the live page and in the metrics.
type source struct{ *Overview }

var _ web.Source = source{}

// Source is the Overview as the HTTP listener takes it.
func (o *Overview) Source() web.Source { return source{o} }

// errNotReady is the answer of /readyz before the daemon owns org.bluez and once it stops.
var errNotReady = errors.New("org.bluez is not served")

// Ready implements web.Source.
func (s source) Ready() error {
	if !s.cfg.Served() {
		return errNotReady
	}
	return nil
}

// Healthy implements web.Source: it reports whether the loop that serves the bus still answers.
func (s source) Healthy(ctx context.Context) error {
	if err := s.cfg.Loop(ctx); err != nil {
		return errors.New("the loop that serves the bus does not answer")
	}
	return nil
}

// Air implements web.Source.
func (s source) Air() web.Air {
	t := s.cfg.Table.Stats()
	return web.Air{
		Devices: t.Devices, Adverts: t.Adverts, Repeats: t.Repeats, Novel: t.Novel, Replays: t.Replays, Switches: t.Switches,
		Evicted: t.Evicted, Expired: t.Expired, Overrun: t.Overrun, Late: t.Late, Oversized: t.Oversized, Crowded: t.Crowded,
	}
}

// Shares implements web.Source.
func (s source) Shares() []web.Share {
	var out []web.Share
	for _, st := range s.cfg.Shares() {
		w := web.Share{Name: st.Name, Hosts: len(st.Hosts), Batches: st.Batches, Dropped: st.Dropped}
		if p := s.cfg.Proxies.ByID(st.Proxy); p != nil {
			w.Proxy = p.Label()
		}
		for _, h := range st.Hosts {
			w.Links += len(h.Links)
			w.Users = append(w.Users, web.ShareUser{Name: h.Name, Has: h.Has()})
		}
		out = append(out, w)
	}
	return out
}

// Stream implements web.Source.
func (s source) Stream() (web.Stream, bool) {
	st, on := s.cfg.Stream()
	return web.Stream{
		Connected: st.State == stream.Connected, Sessions: st.Sessions, Offered: st.Offered, Published: st.Published, Dropped: st.Dropped,
		Refused: st.Refused, Queued: st.Queued, Bytes: st.Bytes, State: string(st.State), Broker: st.Broker, Topic: st.Topic,
		Remark: st.LastError,
	}, on
}

// Controllers implements web.Source.
func (s source) Controllers() []web.Controller {
	var out []web.Controller
	for _, st := range s.cfg.Controllers() {
		out = append(out, web.Controller{
			Name: st.Name, Address: st.Address, Host: st.Host, Since: st.Since, Scanning: st.Scanning, Active: st.Active,
			Links: len(st.Links), Connecting: st.Connecting, Reports: st.Reports, Dropped: st.Dropped, Lost: st.Lost,
		})
	}
	return out
}

// Proxies implements web.Source.
func (s source) Proxies() []web.Proxy {
	heard := map[string]scanner.ProxyInfo{}
	for _, info := range s.cfg.Table.Proxies() {
		heard[info.Name] = info
	}
	holds := s.links.Holds()
	var out []web.Proxy
	for _, p := range s.cfg.Proxies.All() {
		w := s.proxy(p)
		if id := p.ID(); id != "" {
			w.Adverts, w.Owned = heard[id].Adverts, heard[id].Owned
			for _, l := range s.linksOf(p, holds) {
				w.Slots = append(w.Slots, web.Slot{Address: l.Address, Name: s.NameOf(l.Address), State: l.State, Owners: l.Owners})
			}
		}
		out = append(out, w)
	}
	return out
}

// proxy describes a proxy, without its advertisements and slots.
func (s source) proxy(p *fleet.Proxy) web.Proxy {
	traffic, slots := p.Traffic(), p.Slots()
	w := web.Proxy{
		Name: p.Label(), Host: fleet.HostPort(p.Config()), State: p.State().String(), LastError: p.LastError(),
		LinkError: s.LinkError(p), Note: p.Note(), Version: p.Version(), ScanMode: p.ScanMode(),
		SlotsKnown: slots.Known, SlotLimit: slots.Limit, SlotFree: slots.Free,
		Read: traffic.Read, Written: traffic.Written, Sessions: traffic.Sessions, Failures: traffic.Failures,
		LastHeard: p.LastHeard(),
	}
	if p.Version() != "" {
		for _, l := range ble.Lacking(p.Features().Names()) {
			w.Lacks = append(w.Lacks, l.Feature+": "+l.Disables)
		}
	}
	return w
}

// Devices implements web.Source. A connected device often stops advertising, so the recent devices may lack it.
func (s source) Devices(out []ble.Heard, n int, proxies []web.Proxy) []ble.Heard {
	numbers := s.numbers(proxies)
	begin, connected := len(out), web.Connected(proxies)
	connected = connected[:min(n, len(connected))]
	out = s.cfg.Table.AppendRecent(out, n-len(connected), numbers)
	for _, a := range connected {
		if slices.ContainsFunc(out[begin:], func(h ble.Heard) bool { return h.Address == a }) {
			continue
		}
		before := len(out)
		if out = s.cfg.Table.AppendHeard(out, a, numbers); len(out) == before {
			out = append(out, ble.Heard{Address: a})
		}
	}
	return out
}

// numbers maps the ID of each proxy to its place in proxies. Of several proxies with one ID it takes the one that is
// up.
func (s source) numbers(proxies []web.Proxy) map[string]int {
	places := make(map[string]int, len(proxies))
	for i := range proxies {
		places[proxies[i].Name] = i
	}
	out := make(map[string]int, len(proxies))
	up := map[string]bool{}
	for _, p := range s.cfg.Proxies.All() {
		id := p.ID()
		place, ok := places[p.Label()]
		if id == "" || !ok || up[id] {
			continue
		}
		out[id], up[id] = place, p.Up()
	}
	return out
}

// Troubles implements web.Source.
func (s source) Troubles() map[ble.Address]string {
	out := map[ble.Address]string{}
	for a, t := range s.links.DeviceTroubles() {
		out[a] = troubleText(t)
	}
	return out
}

// Tried implements web.Source.
func (s source) Tried() uint64 { return s.links.AttemptsRevision() }

// Connects implements web.Source.
func (s source) Connects(n int) []web.Connect {
	list := s.Overview.Connects(n)
	out := make([]web.Connect, len(list))
	for i, a := range list {
		w := web.Connect{
			At: a.At, Device: a.Device, Name: s.NameOf(a.Device), Asked: a.Asked, SlotWait: a.SlotWait, Took: a.Took,
			Result: a.Result, Error: a.Error, Proxy: a.Proxy, Ended: a.Ended, Why: a.Why, Local: a.Local, Lost: a.Lost,
		}
		for _, t := range a.Tries {
			if !ble.KnownRSSI(t.RSSI) {
				t.RSSI = 0
			}
			w.Tries = append(w.Tries, web.Try{Proxy: t.Proxy, RSSI: t.RSSI, Took: t.Took, Result: t.Result})
		}
		out[i] = w
	}
	return out
}

// Remarks implements web.Source.
func (s source) Remarks() (out []string) {
	problem, restart := s.cfg.Remarks()
	for line := range strings.Lines(problem) {
		out = append(out, "The configuration on disk is not applied: "+strings.TrimSpace(line))
	}
	if len(restart) > 0 {
		out = append(out, "Restart to apply: "+strings.Join(restart, ", "))
	}
	return out
}

// Detail implements web.Source.
func (s source) Detail(a ble.Address) (web.Detail, bool) {
	dev, heard := s.cfg.Table.Device(a)
	st, _ := s.cfg.Store.Device(a)
	out := web.Detail{
		Type: dev.Type, Connectable: dev.Connectable, Bonded: st.Bonded, Last: dev.Last, LastError: s.DeviceError(a),
		Sources: s.nameSources(dev.Sources, map[string]string{}), Alias: st.Alias, Known: st.Name, Trusted: st.Trusted, Blocked: st.Blocked, Adapters: []int{0},
	}
	if st.Bonded {
		out.BondAt = s.BondHolder(a)
	}
	out.Adapters = append(out.Adapters, s.cfg.Adapters(a)...)
	for _, h := range s.links.Holds() {
		if h.Address == a && h.State == gatt.HoldConnected {
			out.Via, out.Since, out.Owners = s.cfg.Proxies.Label(h.Proxy), h.Since, s.cfg.Owners.Holders(a)
		}
	}
	return out, heard || out.Via != ""
}

// Outcomes implements web.Source.
func (s source) Outcomes() web.Outcomes {
	c := s.links.Counts()
	return web.Outcomes{Connects: c.Connects, Ends: c.Ends, ValuesLost: c.ValuesLost}
}
