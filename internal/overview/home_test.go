package overview

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bluez-esphome/internal/adapters"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/capture"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/hci"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/internal/scanmode"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/share"
	"bluez-esphome/internal/store"
	"bluez-esphome/internal/stream"
	"bluez-esphome/internal/task/tasktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long a test waits: so long that only what hangs reaches it, however busy the machine is.
const limit = 2 * time.Minute

const (
	lamp   = ble.Address(0xC82B96100001) // connectable; the pantry hears it best
	sensor = ble.Address(0xC82B96100002) // only hall hears it
)

// home is an Overview of three configured proxies and two simulated devices. The first proxy is called pantry and calls
// itself kitchen. The second has no configured name, calls itself hall, and is passive. The third, shed, is away.
type home struct {
	*testing.T
	*Overview
	air     *proxysim.Air
	table   *scanner.Table
	owners  *gatt.Owners
	store   *store.Store
	proxies *fleet.Set
}

// newHome starts a home and waits until pantry and hall are online. change may set what the Overview is of.
func newHome(t *testing.T, change func(*Config)) *home {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	sim, err := proxysim.New(proxysim.Options{
		Log: log,
		Peripherals: []proxysim.DeviceSpec{
			{ID: "lamp", Address: lamp, Connectable: true, RSSI: map[string]int8{"kitchen": -50, "hall": -80},
				Advert: proxysim.AdvertSpec{LocalName: "Lamp", IntervalMS: 50},
				GATT:   proxysim.GATTSpec{Services: []proxysim.ServiceSpec{{UUID: ble.UUID16(0x180f)}}}},
			{ID: "sensor", Address: sensor, RSSI: map[string]int8{"hall": -60}, Advert: proxysim.AdvertSpec{LocalName: "Sensor", IntervalMS: 50}},
		},
		Proxies: []proxysim.ProxySpec{
			{ProxyConfig: proxysim.ProxyConfig{Name: "kitchen"}, Listen: "127.0.0.1:0"},
			{ProxyConfig: proxysim.ProxyConfig{Name: "hall", Passive: true}, Listen: "127.0.0.1:0"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Background(t, sim.Run)

	h := &home{T: t, Overview: New(), air: sim.Air(), table: scanner.New(scanner.Config{})}
	t.Cleanup(h.table.Close)
	h.store, err = store.Open(t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.store.Close() })
	h.owners = gatt.NewOwners(gatt.Config{Air: paths{h.table}, Timeout: limit}, false)
	cfg := &config.Config{Proxies: []config.Proxy{
		at(t, sim.Addr("kitchen"), "pantry"), at(t, sim.Addr("hall"), ""), {Host: "127.0.0.1", Port: 1, Name: "shed"},
	}}
	online := make(chan *fleet.Proxy, len(cfg.Proxies))
	h.proxies, err = fleet.New(fleet.Config{
		Live: func() *config.Config { return cfg }, Version: "test", Links: h.owners.Manager(), Tap: capture.New(), Merged: h.table, View: new(scanmode.View),
		Adapters: adapters.New(adapters.Config{Store: h.store, Merged: h.table, Logger: log}), Store: h.store, Network: network{}, Board: board{},
		Hooks: hooks{h.table, online}, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	of := Config{
		Proxies: h.proxies, Table: h.table, Owners: h.owners, Store: h.store,
		Shares: func() []share.Status { return nil }, Stream: func() (stream.Status, bool) { return stream.Status{}, false },
		Adapters: func(ble.Address) []int { return nil }, Controllers: func() []hci.Status { return nil },
		Remarks: func() (string, []string) { return "", nil },
		Loop:    func(context.Context) error { return nil }, Served: func() bool { return true },
	}
	if change != nil {
		change(&of)
	}
	h.Show(of)
	tasktest.Background(t, h.proxies.Run)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		h.owners.Manager().Close(ctx)
		h.proxies.Stop(ctx)
	})
	for range 2 {
		select {
		case <-online:
		case <-time.After(limit):
			t.Fatal("the proxies are not online")
		}
	}
	return h
}

// at is the entry of a proxy at an address.
func at(t *testing.T, addr net.Addr, name string) config.Proxy {
	t.Helper()
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return config.Proxy{Host: host, Port: uint16(n), Name: name}
}

// proxy gives the proxy with that label.
func (h *home) proxy(label string) *fleet.Proxy {
	h.Helper()
	for _, p := range h.proxies.All() {
		if p.Label() == label {
			return p
		}
	}
	h.Fatalf("there is no proxy %s", label)
	return nil
}

// eventually waits until ok returns true.
func (h *home) eventually(what string, ok func() bool) {
	h.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(end) {
			h.Fatalf("not so: %s", what)
		}
	}
}

// connect has a party with that name connect to the lamp through a proxy, by its ID; "" is any.
func (h *home) connect(name, via string) (*gatt.Owner, error) {
	h.Helper()
	h.eventually("both proxies hear the lamp", func() bool { return len(h.table.Sources(lamp)) == 2 })
	o := h.owners.Owner(gatt.OwnerConfig{Name: name, Events: events{}})
	done := make(chan error, 1)
	o.Connect(lamp, ble.Public, via, func(err error) { done <- err })
	select {
	case err := <-done:
		return o, err
	case <-time.After(limit):
		h.Fatal("Connect is not answered")
		return nil, nil
	}
}

// paths tells gatt who hears a device.
type paths struct{ table *scanner.Table }

func (p paths) Paths(a ble.Address) (out []gatt.Path) {
	for _, heard := range p.table.Paths(a) {
		out = append(out, gatt.Path{Proxy: heard.Proxy, RSSI: heard.RSSI, LastHeard: heard.LastHeard, Interval: heard.Interval, Type: heard.Type})
	}
	return out
}

// network reaches proxies by their IP addresses.
type network struct{}

func (network) Pace(context.Context) error { return nil }

func (network) Resolve(_ context.Context, _ *fleet.Proxy, host string) ([]netip.Addr, error) {
	a, err := netip.ParseAddr(host)
	return []netip.Addr{a}, err
}

// board shows nothing.
type board struct{}

func (board) Show(*fleet.Proxy)               {}
func (board) Changed(*fleet.Proxy, ...string) {}
func (board) Hide(*fleet.Proxy)               {}

// hooks fills the table and tells which proxies come online.
type hooks struct {
	table  *scanner.Table
	online chan *fleet.Proxy
}

func (h hooks) Online(p *fleet.Proxy)                    { h.online <- p }
func (hooks) Offline(*fleet.Proxy)                       {}
func (hooks) Displaced(*fleet.Proxy)                     {}
func (hooks) AdapterUsed(*adapters.Own, store.ProxyInfo) {}
func (hooks) AdapterOnline(*adapters.Own, bool)          {}
func (hooks) Refused(*fleet.Proxy, string)               {}
func (hooks) Unused(string)                              {}
func (h hooks) Adverts(id string, _ fleet.Shared, at time.Time, batch []ble.RawAdvert) {
	h.table.Adverts(id, at, batch)
}

// events is a party that wants to know nothing.
type events struct{}

var _ links.Events = events{}

func (events) LinkUp(ble.Address, int)                    {}
func (events) Resolved(ble.Address, *ble.Database, int)   {}
func (events) LinkDown(ble.Address, ble.DisconnectReason) {}
func (events) Notified(ble.Address, uint16, []byte)       {}
func (events) DatabaseChanged(ble.Address, *ble.Database) {}
func (events) Paired(ble.Address, bool)                   {}
func (events) Unsubscribed(ble.Address, uint16, error)    {}
