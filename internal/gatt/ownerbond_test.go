package gatt_test

import (
	"errors"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
	"bluez-esphome/internal/links"
)

func (p *party) pair(a ble.Address) error {
	res := make(chan error, 1)
	p.Pair(a, func(err error) { res <- err })
	return <-res
}

// A guest changes what it holds, or what nobody else holds and nobody else bonded; where owners are exclusive never
// what is another's (issue 17, R2).
func TestOwnersBondsBelongToSomebody(t *testing.T) {
	for _, tc := range []struct {
		name      string
		exclusive bool
		prepare   func(t *testing.T, w *world, bus, host, other *party)
		refused   bool
	}{
		{"nobody's", false, func(*testing.T, *world, *party, *party, *party) {}, false},
		{"nobody's, exclusive", true, func(*testing.T, *world, *party, *party, *party) {}, false},
		{"held by D-Bus", false, func(t *testing.T, w *world, bus, _, _ *party) { together(t, w, bus) }, true},
		{"held by D-Bus, exclusive", true, func(t *testing.T, w *world, bus, _, _ *party) { together(t, w, bus) }, true},
		{"held by another host", false, func(t *testing.T, w *world, _, _, other *party) { together(t, w, other) }, true},
		{"bonded by D-Bus, which is away", false, bondedBy(func(bus, _, _ *party) *party { return bus }), true},
		{"bonded by another host, which is away", false, bondedBy(func(_, _, other *party) *party { return other }), true},
		{"bonded by itself", false, bondedBy(func(_, host, _ *party) *party { return host }), false},
		{"bonded by itself, exclusive", true, bondedBy(func(_, host, _ *party) *party { return host }), false},
		{"held together", false, func(t *testing.T, w *world, bus, host, _ *party) { together(t, w, bus, host) }, false},
		{"held, bonded by D-Bus", false, func(t *testing.T, w *world, bus, host, other *party) {
			bondedBy(func(bus, _, _ *party) *party { return bus })(t, w, bus, host, other)
			together(t, w, host)
		}, false},
		{"held, bonded by D-Bus, exclusive", true, func(t *testing.T, w *world, bus, host, other *party) {
			bondedBy(func(bus, _, _ *party) *party { return bus })(t, w, bus, host, other)
			together(t, w, host)
		}, true},
		{"held together from before they were exclusive", false, func(t *testing.T, w *world, bus, host, _ *party) {
			together(t, w, bus, host)
			host.s.SetExclusive(true)
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			owned(t, tc.exclusive, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
				other := &party{name: "other", w: w, s: host.s}
				other.Owner = host.s.Owner(gatt.OwnerConfig{Name: "other", Party: "other", Guest: true, Events: other})
				tc.prepare(t, w, bus, host, other)
				before := len(p.Calls())
				_, cleared := host.ClearCache(t.Context(), addrA)
				for what, err := range map[string]error{"Unpair": host.Unpair(t.Context(), addrA, "p"), "ClearCache": cleared} {
					if refused := errors.Is(err, links.ErrInUse); refused != tc.refused || !refused && err != nil {
						t.Errorf("%s: %v", what, err)
					}
				}
				err := host.SetConnectionParams(t.Context(), addrA, ble.ConnectionParams{MinInterval: 6, MaxInterval: 12, Timeout: 400})
				if tc.refused && err == nil && tc.name != "held, bonded by D-Bus, exclusive" { // there the link is its own
					t.Error("SetConnectionParams is not refused")
				}
				if calls := p.Calls()[before:]; tc.refused && len(calls) > 0 && err != nil {
					t.Errorf("asked of the proxy: %v", calls)
				}
			})
		})
	}
}

func bondedBy(who func(bus, host, other *party) *party) func(*testing.T, *world, *party, *party, *party) {
	return func(t *testing.T, w *world, bus, host, other *party) {
		p := who(bus, host, other)
		together(t, w, p)
		if err := p.pair(addrA); err != nil {
			t.Fatal(err)
		}
		p.disconnect(addrA)
		settle(time.Second)
	}
}

// Who pairs again what another bonded does not take the bond over, and a bond that the peripheral asked for is of the
// one that holds the link.
func TestOwnersBondStays(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		together(t, w, bus, host)
		for _, o := range []*party{bus, host} {
			if err := o.pair(addrA); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
		}
		host.disconnect(addrA)
		bus.disconnect(addrA)
		settle(time.Second)
		if err := host.Unpair(t.Context(), addrA, "p"); !errors.Is(err, links.ErrInUse) {
			t.Errorf("host unpairs what it paired once more: %v", err)
		}
		if err := bus.Unpair(t.Context(), addrA, "p"); err != nil {
			t.Error(err)
		}
		together(t, w, host)
		w.m.PairingReport("p", addrA, true)
		settle(time.Second)
		host.disconnect(addrA)
		settle(time.Second)
		if err := host.Unpair(t.Context(), addrA, "p"); err != nil {
			t.Errorf("host and the bond that its link brought: %v", err)
		}
	})
}

// Config.Used is told of a device as long as anybody holds its link or waits for it, and no longer (issue 16).
func TestOwnersUsed(t *testing.T) {
	ownedWith(t, gatt.Config{Used: func(ble.Address, bool) {} /* replaced by one that logs */}, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		p.Script = func(ble.Address, int) gatttest.Outcome {
			return gatttest.Outcome{Delay: time.Second, Refuse: true, Code: 0x3e}
		}
		failed := make(chan error, 2)
		for _, o := range []*party{bus, host} {
			o.Connect(addrA, ble.Public, "", func(err error) { failed <- err })
		}
		settle(time.Second / 2)
		w.told("dialled for two", "used true")
		for range 2 {
			if err := <-failed; err == nil {
				t.Fatal("connected")
			}
		}
		settle(time.Second)
		w.told("both failed", "used false")
		p.Script = nil
		if err := bus.connect(addrA); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		w.told("one connects", "used true", "bus up 247", "bus done <nil>", "bus resolved 2")
		bus.Close()
		settle(time.Second)
		w.told("it is gone", "used false")
	})
}

// memory is a Store that keeps nothing.
type memory struct{}

func (memory) Load(ble.Address) (gatt.Record, bool) { return gatt.Record{}, false }
func (memory) Save(ble.Address, gatt.Record)        {}
func (memory) Unpairs(string) []ble.Address         { return nil }
func (memory) SetUnpair(string, ble.Address, bool)  {}

// slowStore is a Store whose disk does not answer.
type slowStore struct {
	gatt.Store
	held chan struct{}
}

func (s slowStore) Load(a ble.Address) (gatt.Record, bool) {
	<-s.held
	return s.Store.Load(a)
}

// While a device is forgotten whose record the store has yet to read, notifications of others pass (issue 16).
func TestOwnersForgetHoldsNobodyUp(t *testing.T) {
	held := make(chan struct{})
	store := &slowStore{Store: memory{}, held: held}
	close(held)
	ownedWith(t, gatt.Config{Store: store}, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		together(t, w, bus, host)
		if err := bus.subscribeTo(addrA, 8); err != nil {
			t.Fatal(err)
		}
		slow := make(chan struct{})
		store.held = slow
		go bus.Forget(addrB)
		settle(time.Second)
		w.notifies("while a record is read", 8, "bus")
		close(slow)
		settle(time.Second)
	})
}
