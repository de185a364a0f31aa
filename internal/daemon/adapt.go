package daemon

import (
	"os"

	"bluez-esphome/internal/adapters"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/capture"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/store"
)

func adapterName(cfg *config.Config) string {
	if cfg.AdapterAlias != "" {
		return cfg.AdapterAlias
	}
	name, err := os.Hostname()
	if err != nil {
		return "bluez-esphome"
	}
	return name
}

// dbusOwner is the party that holds links for all programs on the bus together. Hosts that share a proxy have names of
// their own.
const dbusOwner = "D-Bus"

// air is an adapter's view as the shim wants it, which also tells the proxies when to scan actively.
type air struct {
	*scanner.Table
	proxies *fleet.Set
	own     *adapters.Own // nil for the merged adapter
}

func (a *air) SetDiscovery(sessions []ble.DiscoveryFilter) {
	a.proxies.Discovering(a.own, len(sessions) > 0) // first: what is heard passively is not to be reported
	a.Table.SetDiscovery(sessions)
}

// pathsOf tells gatt who hears a device.
type pathsOf struct{ table *scanner.Table }

func (p pathsOf) Paths(a ble.Address) []gatt.Path {
	heard := p.table.Paths(a)
	out := make([]gatt.Path, len(heard))
	for i, h := range heard {
		out[i] = gatt.Path{Proxy: h.Proxy, RSSI: h.RSSI, LastHeard: h.LastHeard, Interval: h.Interval, Type: h.Type}
	}
	return out
}

// listening reports whether anybody wants advertisements: a program on the bus, hosts that proxies are shared with,
// hosts of a controller.
func (d *Daemon) listening() bool {
	if d.sharing.Enabled() || d.controllers.Listening() || d.stream.Wants() {
		return true
	}
	any := false
	d.adapters.Each(func(t *scanner.Table) { any = any || t.Listening() })
	return any
}

// linkEvents passes events of the links that D-Bus holds on to the shim, which is made later than they are.
type linkEvents struct{ links.Events }

// linkKeeper tells the air what links prove, whoever holds them.
type linkKeeper struct {
	adapters *adapters.Set
	store    *store.Store
	tap      *capture.Tap
}

var _ links.Events = linkKeeper{}

// used keeps a device from making room for others while anybody holds its link or waits for it, and as long as it is
// bonded.
func (k linkKeeper) used(a ble.Address, used bool) {
	st, _ := k.store.Device(a)
	k.adapters.Each(func(t *scanner.Table) { t.Keep(a, used || st.Bonded) })
}

func (k linkKeeper) LinkUp(a ble.Address, _ int) {
	k.adapters.Each(func(t *scanner.Table) { t.MarkConnectable(a) })
}

func (k linkKeeper) Resolved(a ble.Address, db *ble.Database, mtu int) { k.tap.Resolved(a, db, mtu) }

func (k linkKeeper) DatabaseChanged(a ble.Address, db *ble.Database) { k.tap.Resolved(a, db, 0) }

func (linkKeeper) LinkDown(ble.Address, ble.DisconnectReason) {}
func (linkKeeper) Notified(ble.Address, uint16, []byte)       {}
func (linkKeeper) Paired(ble.Address, bool)                   {}
func (linkKeeper) Unsubscribed(ble.Address, uint16, error)    {}

// keptLinks are the links of the programs on D-Bus: a device that they remove may make room for others again.
type keptLinks struct {
	*gatt.Owner
	adapters *adapters.Set
}

func (l keptLinks) Forget(a ble.Address) {
	if !l.Shared(a) {
		l.adapters.Each(func(t *scanner.Table) { t.Keep(a, false) })
	}
	l.Owner.Forget(a)
}
