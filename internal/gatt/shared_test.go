package gatt_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// Several proxies that are shared as one may say for ever that they have free slots and refuse for want of one: the wait ends
// with connect.slot_wait all the same, and says why.
func TestSharedNeverHasFittingSlot(t *testing.T) {
	const whole = 30200 * time.Millisecond // the end is between two attempts
	for _, wait := range []time.Duration{5 * time.Second, whole} {
		synctest.Test(t, func(t *testing.T) {
			p := gatttest.New("near", thermometer(addrA))
			p.Script = func(ble.Address, int) gatttest.Outcome { return gatttest.Outcome{Refuse: true} }
			run(t, gatt.Config{SlotWait: wait, Timeout: whole}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
				w.m.SetHosts("near", gatt.HostsShared)
				w.hears(addrA, "near")
				begun := time.Now()
				err := w.connect(addrA, "")
				var ce *ble.ConnectError
				if off := (time.Since(begun) - wait).Abs(); !errors.As(err, &ce) || ce.Failure != ble.ConnectNoSlot || off > time.Second {
					t.Errorf("after %v: %v", time.Since(begun), err)
				}
				if err != nil && strings.Count(err.Error(), "near:") > 2 {
					t.Errorf("it repeats itself: %v", err)
				}
				if at := w.m.Attempts(1)[0]; (at.SlotWait - wait).Abs() > time.Second {
					t.Errorf("it is told to have waited for %v", at.SlotWait)
				}
			})
		})
	}
}

// A proxy that says to be shared and reports links that nobody asked for does not have the daemon ask without bound for
// their end.
func TestSharedFloodOfLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatttest.New("near")
		p.DisconnectDelay = time.Second
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.m.SetHosts("near", gatt.HostsShared)
			for i := range 1000 {
				for range 3 {
					w.m.LinkReport("near", ble.Address(i+1), true, 247, 0)
				}
			}
			settle(time.Minute)
			n := 0
			for i := range 1000 {
				n += p.Count("disconnect " + ble.Address(i+1).String())
			}
			if n == 0 || n > 64 {
				t.Errorf("asked %d times for the end of a link", n)
			}
		})
	})
}

// A device whose link the daemon behind is still letting go of is connected to after that, and stays connected.
func TestSharedLinkLetGoOfAndWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatttest.New("near", thermometer(addrA))
		p.Shared, p.StuckSlots, p.DisconnectDelay = true, true, time.Second // another host stays connected
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.m.SetHosts("near", gatt.HostsShared)
			p.Occupy(addrA)
			w.m.LinkReport("near", addrA, true, 247, 0)
			settle(time.Millisecond)
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(10 * time.Second)
			for _, e := range w.take() {
				if strings.HasPrefix(e, "down") {
					t.Errorf("the link ended: %q", e)
				}
			}
		})
	})
}
