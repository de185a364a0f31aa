package gatt_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

func TestGhosts(t *testing.T) {
	B := "disconnect " + addrB.String()
	tests := []struct {
		name string
		do   func(w *world, p *gatttest.Proxy)
		want int // disconnects of addrB
		left int
	}{
		{"at ProxyOnline", func(_ *world, p *gatttest.Proxy) { p.GoOffline(); p.GoOnline(); p.Occupy(addrB) }, 1, 0},
		{"later", func(_ *world, p *gatttest.Proxy) { p.Occupy(addrB) }, 1, 0},
		{"another host's", func(w *world, p *gatttest.Proxy) { w.m.SetOwnSlots("near", false); p.Occupy(addrB) }, 0, 1},
		{"another host's, who left", func(w *world, p *gatttest.Proxy) {
			w.m.SetOwnSlots("near", false)
			p.Occupy(addrB)
			w.m.SetOwnSlots("near", true)
		}, 1, 0},
		{"a link that came up unasked", func(w *world, p *gatttest.Proxy) { w.m.LinkReport("near", addrB, true, 247, 0) }, 1, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := gatttest.New("near", thermometer(addrA), thermometer(addrB))
				run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					tc.do(w, p)
					settle(30 * time.Second)
					if n := p.Count(B); n != tc.want {
						t.Errorf("%d disconnects, want %d", n, tc.want)
					}
					if len(p.Allocated()) != tc.left {
						t.Errorf("slots held by %v", p.Allocated())
					}
				})
			})
		})
	}
}

// A slot that a previous run left for the very device is released before it is dialled.
func TestConnectThroughGhost(t *testing.T) {
	for _, own := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := gatttest.New("near", thermometer(addrA))
			p.DisconnectDelay = time.Second
			run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
				w.hears(addrA, "near")
				w.m.SetOwnSlots("near", own)
				p.Occupy(addrA)
				err := w.connect(addrA, "")
				if own && err != nil {
					t.Error(err)
				}
				var ce *ble.ConnectError
				if !own && (!errors.As(err, &ce) || ce.Failure != ble.ConnectRefused) {
					t.Errorf("in use by another host: %v", err)
				}
			})
		})
	}
}

func TestInconsistentSlotsEndNoLink(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
		w.m.SlotsReport("near", ble.Slots{Known: true, Free: 1, Limit: 3, HasAllocated: true})
		w.m.SlotsReport("near", ble.Slots{Known: true, Free: 3, Limit: 3})
		w.m.SlotsReport("near", ble.Slots{Known: true, Free: -7, Limit: -9, HasAllocated: true, Allocated: []ble.Address{addrA, addrA, addrA}})
		settle(time.Second)
		wantEvents(t, w)
		w.m.SlotsReport("near", ble.Slots{Known: true, Free: 3, Limit: 3, HasAllocated: true})
		settle(time.Second)
		wantEvents(t, w, "down 0")
	})
}

// Firmware before 2025.2 does not list the slots.
func TestWithoutList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev, dev2 := thermometer(addrA), thermometer(addrB)
		p := gatttest.New("near", dev, dev2)
		p.NoList, p.Limit = true, 1
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			w.hears(addrB, "near")
			for range 5 {
				if err := w.connect(addrA, ""); err != nil {
					t.Fatal(err)
				}
				var ce *ble.ConnectError
				if err := w.connect(addrB, ""); !errors.As(err, &ce) || ce.Failure != ble.ConnectNoSlot {
					t.Errorf("second link on one slot: %v", err)
				}
				w.disconnect(addrA)
			}
			if n := p.Count("connect " + addrB.String()); n != 0 {
				t.Errorf("dialled %d times without a slot", n)
			}
		})
	})
}

// A device that is not heard is tried where it was last.
func TestLastKnownProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := gatttest.New("near", thermometer(addrA)), gatttest.New("far", thermometer(addrA))
		run(t, gatt.Config{}, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
			w.hears(addrA, "far")
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			w.disconnect(addrA)
			w.air.set(addrA)
			start := time.Now()
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d < 10*time.Second || d > 11*time.Second {
				t.Errorf("took %v", d)
			}
		})
	})
}

func TestProxyReplaced(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		q := gatttest.New("near", dev)
		q.Sink = w.m
		w.m.AddProxy(q)
		settle(time.Second)
		wantEvents(t, w, "down 0")
		if err := w.connect(addrA, ""); err != nil || q.Count("connect-cached "+addrA.String()) != 1 {
			t.Errorf("%v, %v", err, q.Calls())
		}
	})
}

// A slot that is not released holds up the next link only for a while, and is asked for again.
func TestSlotNeverReleased(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
		p.StuckSlots = true
		w.disconnect(addrA)
		settle(time.Minute)
		n := p.Count("disconnect " + addrA.String())
		if n < 3 || n > 8 {
			t.Errorf("released %d times in a minute", n)
		}
		p.Vacate(addrA)
		settle(5 * time.Minute)
		if got := p.Count("disconnect " + addrA.String()); got > n+1 {
			t.Errorf("released %d times more though it is free", got-n)
		}
		p.StuckSlots = false
		if err := w.connect(addrA, ""); err != nil {
			t.Error(err)
		}
	})
}
