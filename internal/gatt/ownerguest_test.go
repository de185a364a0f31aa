package gatt_test

import (
	"errors"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

func (p *party) listen(a ble.Address, h uint16, on bool) error {
	res := make(chan error, 1)
	p.Listen(a, h, on, func(err error) { res <- err })
	return <-res
}

// Listening has the proxy pass on what comes, and writes nothing; what is written is what somebody wrote (issue 20).
func TestOwnersListen(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		together(t, w, host)
		if err := host.listen(addrA, 8, true); err != nil {
			t.Fatal(err)
		}
		if n := p.Count("notify " + addrA.String() + " 8 true"); n != 1 || p.Stands(addrA, 9) != 0 {
			t.Errorf("registered %d times; the CCCD has %04x: %v", n, p.Stands(addrA, 9), p.Calls())
		}
		w.notifies("a value that came though nobody wrote", 8, "host")
		if err := host.write(addrA, ble.OpWriteDescriptor, 9, 2, 0); err != nil {
			t.Fatal(err)
		}
		if got := p.Stands(addrA, 9); got != 2 {
			t.Errorf("the CCCD has %04x, want what was written", got)
		}
		w.notifies("after the write", 8, "host")
		together(t, w, bus)
		if err := bus.subscribeTo(addrA, 8); err != nil {
			t.Fatal(err)
		}
		if err := host.write(addrA, ble.OpWriteDescriptor, 9, 0, 0); err != nil {
			t.Fatal(err)
		}
		w.notifies("a host that listens hears what another enabled", 8, "bus", "host")
		if err := host.listen(addrA, 8, false); err != nil {
			t.Fatal(err)
		}
		w.notifies("a host that no longer listens", 8, "bus")
		if got := p.Stands(addrA, 9); got&1 == 0 {
			t.Errorf("the CCCD has %04x, though a program wants notifications", got)
		}
	})
}

// A host that has not paired is refused what needs pairing, whoever else has: neither is it paired for it, nor does it
// profit from the pairing of another (issue 20).
func TestOwnersGuestIsNotPairedSilently(t *testing.T) {
	owned(t, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
		p.SetSecure(addrA, 6)
		together(t, w, host)
		refused := func(when string) {
			t.Helper()
			if _, err := host.readValue(addrA, 6); !errors.Is(err, ble.ATTEncryption) && !errors.Is(err, ble.ATTAuthentication) {
				t.Errorf("%s: %v", when, err)
			}
			if err := host.write(addrA, ble.OpWrite, 6, 1); !errors.Is(err, ble.ATTEncryption) && !errors.Is(err, ble.ATTAuthentication) {
				t.Errorf("%s: a write: %v", when, err)
			}
		}
		refused("nobody has paired")
		if p.Count("pair "+addrA.String()) != 0 {
			t.Error("the host's read paired")
		}
		together(t, w, bus)
		if err := bus.pair(addrA); err != nil {
			t.Fatal(err)
		}
		if v, err := bus.readValue(addrA, 6); v != "21.5" || err != nil {
			t.Errorf("the program reads %q, %v", v, err)
		}
		refused("beside a program that paired")
		if v, err := host.readValue(addrA, 3); v != "Thermo" || err != nil {
			t.Errorf("what needs no pairing: %q, %v", v, err)
		}
		if err := host.pair(addrA); err != nil {
			t.Fatal(err)
		}
		if v, err := host.readValue(addrA, 6); v != "21.5" || err != nil {
			t.Errorf("after the host paired: %q, %v", v, err)
		}
	})
}

// Without a free slot a host is told at once, as by the proxy; a program waits, and so does a host where that is
// configured (issue 20).
func TestOwnersGuestDoesNotWaitForASlot(t *testing.T) {
	for _, tc := range []struct {
		name        string
		policy      gatt.NoSlot
		guest, wait bool
	}{
		{"host", gatt.NoSlotWait, true, false},
		{"program", gatt.NoSlotWait, false, true},
		{"host, waiting is configured", gatt.NoSlotWaitAll, true, true},
		{"program, failing is configured", gatt.NoSlotFail, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := gatt.Config{SlotWait: 5 * time.Second, OnNoSlot: func(string) gatt.NoSlot { return tc.policy }}
			ownedWith(t, cfg, false, func(t *testing.T, w *world, p *gatttest.Proxy, bus, host *party) {
				w.m.SetHosts("p", gatt.HostsApart) // who has them is nobody's affair here
				p.SetLimit(1)
				p.Occupy(addrB)
				settle(time.Second)
				w.hears(addrA, "p")
				who := bus
				if tc.guest {
					who = host
				}
				begun := time.Now()
				err := who.connect(addrA)
				var ce *ble.ConnectError
				if !errors.As(err, &ce) || ce.Failure != ble.ConnectNoSlot {
					t.Fatalf("got %v", err)
				}
				if waited := time.Since(begun) >= cfg.SlotWait; waited != tc.wait {
					t.Errorf("it took %v", time.Since(begun))
				}
			})
		})
	}
}
