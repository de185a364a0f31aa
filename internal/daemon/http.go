package daemon

import (
	"context"
	"errors"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/inspect"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/web"
)

// listenHTTP takes the address of http.listen, if one is set, and makes the metrics. Without it nothing is measured.
func (d *Daemon) listenHTTP(ctx context.Context) error {
	listen := d.config().HTTP.Listen
	if listen == "" && d.opts.Listener == nil {
		return nil
	}
	d.metrics = web.NewMetrics(d.opts.Version)
	var err error
	d.web, err = web.Listen(ctx, web.Config{
		Listen: listen, Listener: d.opts.Listener, Source: webSource{d}, Metrics: d.metrics, Logger: d.log, Version: d.opts.Version, Profiles: d.opts.Profiles,
	})
	return err
}

// serveHTTP answers until ctx ends. A failure is logged: nobody who uses org.bluez is to suffer from it.
func (d *Daemon) serveHTTP(ctx context.Context) error {
	if d.web == nil {
		return nil
	}
	d.log.Info("Metrics, health and the live page are served", "url", d.web.URL(), "pprof", d.opts.Profiles)
	if err := d.web.Run(ctx); err != nil {
		d.log.Error("The HTTP listener ended", "error", err)
	}
	return nil
}

// HTTP is the address of the live page, empty if there is no listener; for use once Ready was called.
func (d *Daemon) HTTP() string {
	if d.web == nil {
		return ""
	}
	return d.web.URL()
}

// The hooks of the packages are nil while nobody can ask for the metrics.

func (d *Daemon) answered() func(iface, member, errName string) {
	if d.metrics == nil {
		return nil
	}
	return d.metrics.Answered
}

func (d *Daemon) signalled() func(time.Duration) {
	if d.metrics == nil {
		return nil
	}
	return d.metrics.Signalled
}

func (d *Daemon) measured() func(gatt.Operation, time.Duration, error) {
	m := d.metrics
	if m == nil {
		return nil
	}
	return func(op gatt.Operation, took time.Duration, err error) {
		switch op {
		case gatt.OperationConnect:
			m.Connected(took, err)
		case gatt.OperationRead:
			m.Read(took, err)
		case gatt.OperationWrite:
			m.Written(took, err)
		}
	}
}

// webSource shows a Daemon that is built.
type webSource struct{ d *Daemon }

var _ web.Source = webSource{}

// errNotReady is what /readyz says before org.bluez is ours and once the work ends.
var errNotReady = errors.New("org.bluez is not served")

// Ready implements web.Source.
func (s webSource) Ready() error {
	if !s.d.ready.Load() {
		return errNotReady
	}
	return nil
}

// Healthy implements web.Source: the loop that serves the bus still does something.
func (s webSource) Healthy(ctx context.Context) error {
	if err := s.d.conn.Do(ctx, func() {}); err != nil {
		return errors.New("the loop that serves the bus does not answer")
	}
	return nil
}

// Air implements web.Source.
func (s webSource) Air() web.Air {
	t := s.d.table.Stats()
	return web.Air{
		Devices: t.Devices, Adverts: t.Adverts, Repeats: t.Repeats, Novel: t.Novel, Replays: t.Replays, Switches: t.Switches,
		Evicted: t.Evicted, Expired: t.Expired, Overrun: t.Overrun, Late: t.Late, Oversized: t.Oversized, Crowded: t.Crowded,
	}
}

// Shares implements web.Source.
func (s webSource) Shares() []web.Share {
	var out []web.Share
	for _, st := range s.d.sharing.Status() {
		w := web.Share{Name: st.Name, Hosts: len(st.Hosts), Batches: st.Batches, Dropped: st.Dropped}
		if p := s.d.proxies.ByID(st.Proxy); p != nil {
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

// Proxies implements web.Source.
func (s webSource) Proxies() []web.Proxy {
	heard := map[string]int{}
	infos := s.d.table.Proxies()
	for i, p := range infos {
		heard[p.Name] = i
	}
	var out []web.Proxy
	for _, p := range s.d.proxies.All() {
		traffic, slots := p.Traffic(), p.Slots()
		w := web.Proxy{
			Name: p.Label(), Host: fleet.HostPort(p.Config()), State: p.State().String(), LastError: p.LastError(), LinkError: s.d.linkError(p), Note: p.Note(), Version: p.Version(),
			ScanMode: p.ScanMode(), SlotsKnown: slots.Known, SlotLimit: slots.Limit, SlotFree: slots.Free,
			Read: traffic.Read, Written: traffic.Written, Sessions: traffic.Sessions, Failures: traffic.Failures,
			LastHeard: p.LastHeard(),
		}
		if p.Version() != "" {
			for _, l := range ble.Lacking(p.Features().Names()) {
				w.Lacks = append(w.Lacks, l.Feature+": "+l.Disables)
			}
		}
		if id := p.ID(); id != "" {
			if i, ok := heard[id]; ok {
				w.Adverts, w.Owned = infos[i].Adverts, infos[i].Owned
			}
			for _, l := range s.d.linksOf(p) {
				dev, _ := s.d.table.Device(l.Address)
				w.Slots = append(w.Slots, web.Slot{Address: l.Address, Name: dev.Name, State: l.State, Owners: l.Owners})
			}
		}
		out = append(out, w)
	}
	return out
}

// linksOf lists the slots of a proxy that are in use.
func (d *Daemon) linksOf(p *fleet.Proxy) []inspect.Link {
	id := p.ID()
	var out []inspect.Link
	for _, h := range d.links.Holds() {
		if h.Proxy != id {
			continue
		}
		l := inspect.Link{Address: h.Address, State: string(h.State), Since: h.Since}
		if h.State != gatt.HoldReleasing {
			l.Owners = d.owners.Holders(h.Address)
		}
		out = append(out, l)
	}
	return inspect.WithForeign(out, p)
}

// Devices implements web.Source. A device that is connected often says nothing any more, so it may not be among the
// recent ones.
func (s webSource) Devices(n int) []web.Device {
	recent := s.d.table.Recent(n)
	var out []web.Device
	connected := map[ble.Address]bool{}
	for _, h := range s.d.links.Holds() {
		if h.State != gatt.HoldConnected {
			continue
		}
		connected[h.Address] = true
		if !slices.ContainsFunc(recent, func(d scanner.Device) bool { return d.Address == h.Address }) {
			dev, _ := s.d.table.Device(h.Address)
			dev.Address = h.Address
			if len(recent) >= n && n > 0 {
				recent = recent[:n-1]
			}
			recent = slices.Insert(recent, 0, dev)
		}
	}
	for _, d := range recent {
		out = append(out, web.Device{
			Address: d.Address, Name: d.Name, Connected: connected[d.Address], LastHeard: d.LastHeard, LastError: s.d.deviceError(d.Address), Sources: s.d.named(d.Sources),
		})
	}
	return out
}

// named gives sources the names of their proxies in place of their IDs, for people.
func (d *Daemon) named(sources []ble.Source) []ble.Source {
	for i := range sources {
		sources[i].Proxy = d.proxies.Label(sources[i].Proxy)
	}
	return sources
}
