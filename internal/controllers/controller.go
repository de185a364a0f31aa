package controllers

import (
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/att"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/hci"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/scanmode"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/smp"
	"bluez-esphome/internal/store"
)

// controller is one virtual controller and its radio.
type controller struct {
	*hci.Controller
	set   *Set
	key   string
	cfg   config.Controller
	view  scanmode.View
	wants atomic.Bool // scanning actively
	stop  func()      // under Set.mu; nil: it does not run

	// only has the IDs of the proxies that it uses; nil: all.
	only atomic.Pointer[map[string]bool]
	// table merges what several proxies hear, where these are not all; nil: it is one, or all.
	table   *scanner.Table
	merging lockorder.Mutex[lockorder.Merge] // keeps the merged air in order; guards merged
	merged  []ble.RawAdvert
}

var _ hci.Air = (*controller)(nil)

// newController makes a controller that does not run yet.
func (s *Set) newController(key string, cc config.Controller) *controller {
	log := s.cfg.Logger.With("controller", key)
	address, err := s.cfg.Store.Controller(key)
	if err != nil {
		log.Error("A controller will have another address in the next run: its host's bonds are lost then", "error", err)
	}
	c := &controller{set: s, key: key, cfg: cc}
	if len(cc.Proxies) > 0 {
		c.only.Store(&map[string]bool{})
	}
	if len(cc.Proxies) > 1 {
		c.table = scanner.New(scanner.Config{MaxDevices: s.cfg.MaxDevices, Logger: s.cfg.Logger})
	}
	c.Controller = hci.New(hci.Config{
		Name: key, Address: address, Transport: transport(cc, log), Air: c, Store: peers{s.cfg.Store, key}, Log: log,
		Links:       func(events links.Events) links.Links { return s.cfg.Links("controller "+key, events) },
		NewATT:      func(cfg att.Config) hci.ATT { return att.New(cfg) },
		NewSMP:      func(cfg smp.Config) hci.Security { return smp.New(cfg) },
		WishChanged: c.wishChanged,
	})
	return c
}

// transport is where a controller meets its host.
func transport(c config.Controller, log *slog.Logger) hci.Transport {
	switch {
	case c.PTY != "":
		return hci.NewPTY(c.PTY, log)
	case c.Unix != "":
		return hci.Unix(c.Unix, log)
	case c.TCP != "":
		return hci.TCP(c.TCP, log)
	}
	return hci.NewVHCI()
}

// end stops the controller for good and waits for it.
func (c *controller) end() {
	if c.stop != nil {
		c.stop()
	}
	if c.table != nil {
		c.table.Close()
	}
}

// refresh finds out which proxies the controller uses and reports whether these are others than before.
func (c *controller) refresh() (changed bool) {
	if c.only.Load() == nil {
		return false
	}
	ids := map[string]bool{}
	for _, id := range c.set.proxies.IDs(c.cfg.Proxies) {
		ids[id] = true
	}
	before := *c.only.Swap(&ids)
	if c.table != nil {
		for id := range ids {
			if p := c.set.proxies.ByID(id); p != nil && p.Up() {
				c.table.ProxyUp(id)
			}
		}
	}
	return !maps.Equal(before, ids)
}

// uses reports whether the controller uses the proxy with that ID.
func (c *controller) uses(id string) bool {
	only := c.only.Load()
	return only == nil || (*only)[id]
}

// wishChanged has the proxies scan as the controller's host wants.
func (c *controller) wishChanged() {
	if c.Controller == nil { // it is being made
		return
	}
	if _, active := c.Wish(); c.wants.Swap(active) != active {
		c.view.Discovering(active)
		c.set.proxies.ModeChanged("")
	}
}

// heard takes a batch of one of its proxies, which are not all.
func (c *controller) heard(id string, at time.Time, batch []ble.RawAdvert) {
	if c.table == nil {
		c.Adverts(at, batch)
		return
	}
	c.merging.Lock()
	defer c.merging.Unlock()
	c.merged = c.table.Relay(id, at, batch, c.merged[:0])
	c.Adverts(at, c.merged)
	clear(c.merged) // the data is the session's
}

// best is the one of the controller's proxies that hears a device loudest of those that heard it lately, and when any
// of them did last.
func (c *controller) best(a ble.Address) (best scanner.Path, last time.Time, ok bool) {
	for _, p := range c.set.cfg.Merged.Paths(a) {
		if !c.uses(p.Proxy) {
			continue
		}
		if !ok || p.RSSI > best.RSSI {
			best = p
		}
		if p.LastHeard.After(last) {
			last = p.LastHeard
		}
		ok = true
	}
	return best, last, ok
}

// Last implements hci.Air.
func (c *controller) Last(a ble.Address) (ble.RawAdvert, time.Time, bool) {
	dev, known := c.set.cfg.Merged.Device(a)
	best, at, heard := c.best(a)
	if !known || !heard || dev.Last == nil {
		return ble.RawAdvert{}, time.Time{}, false
	}
	return ble.RawAdvert{Address: a, Type: dev.Type, RSSI: int8(best.RSSI), Data: dev.Last.Raw}, at, true
}

// Passive implements hci.Air.
func (c *controller) Passive() bool {
	return slices.ContainsFunc(c.set.proxies.All(), func(p *fleet.Proxy) bool { return c.uses(p.ID()) && p.TurnsActive() })
}

// Linked implements hci.Air.
func (c *controller) Linked(a ble.Address) bool { return c.set.cfg.Linked(a) }

// Via implements hci.Air: where the controller does not use all proxies, the one that hears the device best.
func (c *controller) Via(a ble.Address) string {
	if c.only.Load() == nil {
		return ""
	}
	if best, _, ok := c.best(a); ok {
		return best.Proxy
	}
	for id := range *c.only.Load() { // nobody hears it: it is linked, and joined, or fails
		return id
	}
	return "nobody"
}

// Full implements hci.Air.
func (c *controller) Full() bool {
	any := false
	for _, p := range c.set.proxies.All() {
		if !p.Online() || !c.uses(p.ID()) || !p.Features().Has(ble.FeatureActiveConnections) {
			continue
		}
		if slots := p.Slots(); !slots.Known || slots.Free > 0 {
			return false
		}
		any = true
	}
	return any
}

// peers is what is kept of the peripherals of one controller's host.
type peers struct {
	store *store.Store
	key   string
}

var _ hci.Store = peers{}

// Key implements smp.Keys.
func (p peers) Key(a ble.Address) (smp.Key, bool) {
	st, _ := p.store.ControllerPeer(p.key, a)
	if st.Key == nil {
		return smp.Key{}, false
	}
	return *st.Key, true
}

// SetKey implements smp.Keys.
func (p peers) SetKey(a ble.Address, k smp.Key) {
	p.store.ChangeControllerPeer(p.key, a, func(st *store.ControllerPeer) { st.Key = &k })
}

// Seen implements hci.Store.
func (p peers) Seen(a ble.Address) ble.Seen {
	st, _ := p.store.ControllerPeer(p.key, a)
	return st.Seen
}

// SetSeen implements hci.Store.
func (p peers) SetSeen(a ble.Address, s ble.Seen) {
	p.store.ChangeControllerPeer(p.key, a, func(st *store.ControllerPeer) { st.Seen = s })
}
