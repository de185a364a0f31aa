package daemon

import (
	"log/slog"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/hci"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/smp"
	"bluez-esphome/internal/store"
)

var (
	_ hci.Air   = (*controller)(nil)
	_ hci.Store = peers{}
)

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

// best is the one of the controller's proxies that hears a device loudest of those that heard it lately, and when any of them did last.
func (c *controller) best(a ble.Address) (best scanner.Path, last time.Time, ok bool) {
	for _, p := range c.d.table.Paths(a) {
		if !c.uses(p.Proxy) {
			continue
		}
		if !ok || p.RSSI != 0 && (best.RSSI == 0 || p.RSSI > best.RSSI) {
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
	dev, known := c.d.table.Device(a)
	best, at, heard := c.best(a)
	if !known || !heard || dev.Last == nil {
		return ble.RawAdvert{}, time.Time{}, false
	}
	return ble.RawAdvert{Address: a, Type: dev.Type, RSSI: int8(best.RSSI), Data: dev.Last.Raw}, at, true
}

// Linked implements hci.Air.
func (c *controller) Linked(a ble.Address) bool {
	for _, h := range c.d.links.Holds() {
		if h.Address == a && h.State == gatt.HoldConnected {
			return true
		}
	}
	return false
}

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
	for _, p := range c.d.proxies.All() {
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
	d   *Daemon
	key string
}

// Key implements smp.Keys.
func (p peers) Key(a ble.Address) (smp.Key, bool) {
	st, _ := p.d.store.ControllerPeer(p.key, a)
	if st.Key == nil {
		return smp.Key{}, false
	}
	return *st.Key, true
}

// SetKey implements smp.Keys.
func (p peers) SetKey(a ble.Address, k smp.Key) {
	p.d.store.ChangeControllerPeer(p.key, a, func(st *store.ControllerPeer) { st.Key = &k })
}

// Seen implements hci.Store.
func (p peers) Seen(a ble.Address) ble.Seen {
	st, _ := p.d.store.ControllerPeer(p.key, a)
	return st.Seen
}

// SetSeen implements hci.Store.
func (p peers) SetSeen(a ble.Address, s ble.Seen) {
	p.d.store.ChangeControllerPeer(p.key, a, func(st *store.ControllerPeer) { st.Seen = s })
}
