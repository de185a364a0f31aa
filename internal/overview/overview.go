// Package overview puts together what the program shows to people: the links and bonds of each proxy, attempts and
// failures, and which proxy hears which device. It gives proxies by their names, not by their IDs. The live page takes
// it as its web.Source; package inspect shows the same on D-Bus.
package overview

import (
	"context"
	"fmt"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/hci"
	"bluez-esphome/internal/inspect"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/share"
	"bluez-esphome/internal/store"
	"bluez-esphome/internal/stream"
)

// Config has the parts of the program that an Overview shows. No field may be its zero value.
type Config struct {
	Proxies *fleet.Set
	Table   *scanner.Table // of the merged adapter
	Owners  *gatt.Owners
	Store   *store.Store
	// Shares lists the proxies as they are offered to other hosts.
	Shares func() []share.Status
	// Stream tells of the stream to a broker, false if there is none.
	Stream func() (stream.Status, bool)
	// Adapters lists the numbers of the per-proxy adapters that have a device.
	Adapters func(a ble.Address) []int
	// Controllers lists the virtual controllers.
	Controllers func() []hci.Status
	// Remarks compares the file on disk with the configuration in use. problem has the mistakes that keep it from being
	// applied, one in each line; restart lists the keys that wait for a restart.
	Remarks func() (problem string, restart []string)
	// Loop returns nil once the loop that serves the bus did something; ctx bounds the wait.
	Loop func(ctx context.Context) error
	// Served reports whether org.bluez is served.
	Served func() bool
}

// An Overview is goroutine-safe. Its methods may be called once it has its Config, see Show.
type Overview struct {
	cfg   Config
	links *gatt.Manager // of cfg.Owners
}

// New makes an Overview without a Config: only Show and Source may be called.
func New() *Overview { return &Overview{} }

// Show gives the Overview its Config. It is called once, before any other method except Source.
func (o *Overview) Show(cfg Config) { o.cfg, o.links = cfg, cfg.Owners.Manager() }

// NameOf is the name that a device advertises, "" if it is unknown.
func (o *Overview) NameOf(a ble.Address) string {
	dev, _ := o.cfg.Table.Device(a)
	return dev.Name
}

// Heard lists the devices that the proxies hear.
func (o *Overview) Heard() []scanner.Device { return o.named(o.cfg.Table.List()) }

// Recent lists at most n devices, those heard last first.
func (o *Overview) Recent(n int) []scanner.Device { return o.named(o.cfg.Table.Recent(n)) }

// named replaces the IDs of proxies in the sources of devices by their names.
func (o *Overview) named(list []scanner.Device) []scanner.Device {
	labels := map[string]string{} // by ID: there are thousands of signals and few proxies
	for i := range list {
		o.nameSources(list[i].Sources, labels)
	}
	return list
}

func (o *Overview) nameSources(sources []ble.Source, labels map[string]string) []ble.Source {
	for i := range sources {
		id := sources[i].Proxy
		label, ok := labels[id]
		if !ok {
			label = o.cfg.Proxies.Label(id)
			labels[id] = label
		}
		sources[i].Proxy = label
	}
	return sources
}

// Connected reports whether a device is connected.
func (o *Overview) Connected(a ble.Address) bool { return o.links.Connected(a) }

// Connects lists at most n of the last calls of Connect, the newest first.
func (o *Overview) Connects(n int) []gatt.Attempt { return o.namedVia(o.links.Attempts(n)) }

// maxDeviceConnects bounds the calls of Connect that a device's object on D-Bus shows, since every client that lists
// all objects gets them.
const maxDeviceConnects = 4

// DeviceConnects lists the last few calls of Connect of one device, the newest first.
func (o *Overview) DeviceConnects(a ble.Address) []gatt.Attempt {
	return o.namedVia(o.links.DeviceAttempts(a, maxDeviceConnects))
}

func (o *Overview) namedVia(list []gatt.Attempt) []gatt.Attempt {
	for i := range list {
		if list[i].Via != "" {
			list[i].Via = o.cfg.Proxies.Label(list[i].Via)
		}
	}
	return list
}

// DeviceError says what went wrong last with a device: when, through which proxy, and what; "" if nothing did.
func (o *Overview) DeviceError(a ble.Address) string {
	return troubleText(o.links.DeviceTrouble(a))
}

func troubleText(t gatt.Trouble) string {
	if t.What == "" {
		return ""
	}
	return fmt.Sprintf("%s: %s", t.At.Format(time.DateTime), t.What)
}

// LinkError says what went wrong last with an attempt or a link through a proxy: when, with which device, and what; ""
// if nothing did.
func (o *Overview) LinkError(p *fleet.Proxy) string {
	t := o.links.ProxyTrouble(p.ID())
	if t.What == "" {
		return ""
	}
	return fmt.Sprintf("%s %v: %s", t.At.Format(time.DateTime), t.Device, t.What)
}

// Links lists the connection slots of a proxy that are in use.
func (o *Overview) Links(p *fleet.Proxy) []inspect.Link { return o.linksOf(p, o.links.Holds()) }

// linksOf picks the slots of a proxy out of all holds, and adds those that others use.
func (o *Overview) linksOf(p *fleet.Proxy, holds []gatt.Hold) []inspect.Link {
	id := p.ID()
	var out []inspect.Link
	for _, h := range holds {
		if h.Proxy != id {
			continue
		}
		l := inspect.Link{Address: h.Address, State: string(h.State), Since: h.Since}
		if h.State != gatt.HoldReleasing {
			l.Owners = o.cfg.Owners.Holders(h.Address)
		}
		out = append(out, l)
	}
	return inspect.WithForeign(out, p)
}

// BondHolder names the proxy that holds the bond with a device, "" if none does.
func (o *Overview) BondHolder(a ble.Address) string {
	g, _ := o.cfg.Store.Gatt(a)
	if g.Bonded == "" {
		return ""
	}
	return o.cfg.Proxies.Label(g.Bonded)
}

// Bonds lists the devices whose bond a proxy holds.
func (o *Overview) Bonds(p *fleet.Proxy) (held []ble.Address) {
	id := p.ID()
	if id == "" { // it was not online in this run
		id = o.cfg.Proxies.IDOf(p.Label())
	}
	var bonded []ble.Address
	o.cfg.Store.Devices(func(a ble.Address, st store.DeviceState) {
		if st.Bonded {
			bonded = append(bonded, a)
		}
	})
	for _, a := range bonded {
		if g, _ := o.cfg.Store.Gatt(a); g.Bonded != "" && (g.Bonded == id || o.cfg.Proxies.IDOf(g.Bonded) == id) {
			held = append(held, a)
		}
	}
	slices.Sort(held)
	return held
}
