package gatt_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
	"bluez-esphome/internal/links"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ gatt.Proxy = (*gatttest.Proxy)(nil)
var _ gatt.Starter = (*gatttest.Proxy)(nil)
var _ gatttest.Sink = (*gatt.Manager)(nil)

const (
	addrA = ble.Address(0xAA0000000001)
	addrB = ble.Address(0xAA0000000002)
)

// air is what the proxies hear.
type air struct {
	mu    sync.Mutex
	paths map[ble.Address][]gatt.Path
}

func (a *air) Paths(addr ble.Address) []gatt.Path {
	a.mu.Lock()
	defer a.mu.Unlock()
	paths := slices.Clone(a.paths[addr])
	for i := range paths {
		if paths[i].LastHeard.IsZero() { // it advertises all the time
			paths[i].LastHeard = time.Now()
		}
	}
	return paths
}

func (a *air) set(addr ble.Address, paths ...gatt.Path) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paths[addr] = paths
}

// world is a Manager, its proxies and what it told.
type world struct {
	t   *testing.T
	m   *gatt.Manager
	air *air

	mu     sync.Mutex
	events []string
	dbs    []*ble.Database
}

func (w *world) log(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf(format, args...))
}

// take returns and clears what was told.
func (w *world) take() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.events
	w.events = nil
	return e
}

func (w *world) LinkUp(_ ble.Address, mtu int) { w.log("up %d", mtu) }
func (w *world) Resolved(_ ble.Address, db *ble.Database, mtu int) {
	w.mu.Lock()
	w.dbs = append(w.dbs, db)
	w.mu.Unlock()
	w.log("resolved %d services, mtu %d", len(db.Services), mtu)
}
func (w *world) LinkDown(_ ble.Address, r ble.DisconnectReason) { w.log("down %d", r) }
func (w *world) Notified(_ ble.Address, h uint16, v []byte)     { w.log("notified %d %s", h, v) }
func (w *world) DatabaseChanged(_ ble.Address, db *ble.Database) {
	w.log("changed %d services", len(db.Services))
}
func (w *world) Paired(_ ble.Address, bonded bool) { w.log("paired %v", bonded) }

func (w *world) Unsubscribed(_ ble.Address, h uint16, err error) {
	w.log("unsubscribed %d: %v", h, err)
}

var _ links.Events = (*world)(nil)

func (w *world) Read(a ble.Address, h uint16, done func([]byte, error)) {
	w.m.Do(a, ble.Operation{Kind: ble.OpRead, Handle: h}, done)
}

func (w *world) ReadDescriptor(a ble.Address, h uint16, done func([]byte, error)) {
	w.m.Do(a, ble.Operation{Kind: ble.OpReadDescriptor, Handle: h}, done)
}

func (w *world) put(a ble.Address, kind ble.OperationKind, h uint16, v []byte, done func(error)) {
	w.m.Do(a, ble.Operation{Kind: kind, Handle: h, Value: v}, func(_ []byte, err error) { done(err) })
}

func (w *world) Write(a ble.Address, h uint16, v []byte, done func(error)) {
	w.put(a, ble.OpWrite, h, v, done)
}

func (w *world) WriteCommand(a ble.Address, h uint16, v []byte, done func(error)) {
	w.put(a, ble.OpWriteCommand, h, v, done)
}

func (w *world) WriteDescriptor(a ble.Address, h uint16, v []byte, done func(error)) {
	w.put(a, ble.OpWriteDescriptor, h, v, done)
}

// run builds a world in a bubble; f gets it with the proxies added.
func run(t *testing.T, cfg gatt.Config, proxies []*gatttest.Proxy, f func(t *testing.T, w *world)) {
	t.Helper()
	w := &world{t: t, air: &air{paths: make(map[ble.Address][]gatt.Path)}}
	cfg.Air, cfg.Events = w.air, w
	w.m = gatt.New(cfg)
	for _, p := range proxies {
		p.Sink = w.m
		w.m.AddProxy(p, gatt.HostsNone)
		w.m.ProxyOnline(p.Name())
		p.SendSlots()
	}
	f(t, w)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	w.m.Close(ctx)
	synctest.Wait()
}

// falls makes a device silent: it is still known where it was heard.
func (w *world) falls(a ble.Address) {
	w.air.set(a, w.air.Paths(a)...)
}

// hears makes proxies hear a at -50, -60, … dBm.
func (w *world) hears(a ble.Address, proxies ...string) {
	var paths []gatt.Path
	for i, p := range proxies {
		paths = append(paths, gatt.Path{Proxy: p, RSSI: -50 - 10*i})
	}
	w.air.set(a, paths...)
}

// connect connects and waits for the answer.
func (w *world) connect(a ble.Address, via string) error {
	res := make(chan error, 2)
	w.m.Connect(a, ble.Public, via, func(err error) {
		if err == nil {
			w.log("connected")
		}
		res <- err
	})
	err := <-res
	synctest.Wait()
	select {
	case <-res:
		w.t.Error("done was called twice")
	default:
	}
	return err
}

func (w *world) disconnect(a ble.Address) {
	res := make(chan struct{})
	w.m.Disconnect(a, func() { w.log("disconnected"); close(res) })
	<-res
	synctest.Wait()
}

// settle lets d pass.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) read(a ble.Address, h uint16) (string, error) {
	type result struct {
		v   []byte
		err error
	}
	res := make(chan result, 1)
	w.Read(a, h, func(v []byte, err error) { res <- result{v, err} })
	r := <-res
	return string(r.v), r.err
}

func (w *world) subscribe(a ble.Address, h uint16) error {
	res := make(chan error, 1)
	w.m.Subscribe(a, h, func(err error) { res <- err })
	return <-res
}

// thermometer is a peripheral with GAP, a readable (5), notifying (8, CCCD 9) and
// indicating (11, CCCD 12) and writable (14) characteristic.
func thermometer(a ble.Address) *gatttest.Peripheral {
	return &gatttest.Peripheral{
		Address: a,
		Services: []ble.Service{
			{Handle: 1, UUID: ble.UUID16(0x1800), Characteristics: []ble.Characteristic{
				{ValueHandle: 3, UUID: ble.UUIDDeviceName, Properties: ble.PropRead}}},
			{Handle: 4, UUID: ble.UUID16(0xfff0), Characteristics: []ble.Characteristic{
				{ValueHandle: 6, UUID: ble.UUID16(0xfff1), Properties: ble.PropRead},
				{ValueHandle: 8, UUID: ble.UUID16(0xfff2), Properties: ble.PropNotify | ble.PropIndicate,
					Descriptors: []ble.Descriptor{{Handle: 9, UUID: ble.UUIDCCCD}}},
				{ValueHandle: 11, UUID: ble.UUID16(0xfff3), Properties: ble.PropIndicate,
					Descriptors: []ble.Descriptor{{Handle: 12, UUID: ble.UUIDCCCD}}},
				{ValueHandle: 14, UUID: ble.UUID16(0xfff4), Properties: ble.PropWrite | ble.PropWriteWithoutResponse},
			}},
		},
		Values: map[uint16][]byte{3: []byte("Thermo"), 6: []byte("21.5")},
	}
}
