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
		{"another host's", func(w *world, p *gatttest.Proxy) { w.m.SetHosts("near", gatt.HostsApart); p.Occupy(addrB) }, 0, 1},
		{"another host's, who left", func(w *world, p *gatttest.Proxy) {
			w.m.SetHosts("near", gatt.HostsApart)
			p.Occupy(addrB)
			w.m.SetHosts("near", gatt.HostsNone)
		}, 1, 0},
		{"those of hosts that share the proxy", func(w *world, p *gatttest.Proxy) { w.m.SetHosts("near", gatt.HostsShared); p.Occupy(addrB) }, 0, 1},
		{"a link that came up unasked on a proxy that is shared", func(w *world, p *gatttest.Proxy) {
			w.m.SetHosts("near", gatt.HostsShared)
			w.m.LinkReport("near", addrB, true, 247, 0)
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
				w.m.SetHosts("near", map[bool]gatt.Hosts{true: gatt.HostsNone, false: gatt.HostsApart}[own])
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

// Behind a daemon that shares its proxy, a device that is connected for another of its hosts is dialled at once: though
// nobody hears it, since it does not advertise, and though no slot is free. When it is let go of, nobody waits for its slot.
func TestConnectJoins(t *testing.T) {
	for name, heard := range map[string]bool{"silent": false, "heard": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := gatttest.New("near", thermometer(addrA), thermometer(addrB))
				p.Shared, p.StuckSlots = true, true // the other host stays connected
				run(t, gatt.Config{OnNoSlot: func(string) gatt.NoSlot { return gatt.NoSlotFail }}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.m.SetHosts("near", gatt.HostsShared)
					p.SetLimit(1)
					p.Occupy(addrA)
					w.hears(addrB, "near")
					if heard {
						w.hears(addrA, "near")
					}
					for range 2 {
						begun := time.Now()
						if err := w.connect(addrA, ""); err != nil || time.Since(begun) > time.Second {
							t.Fatalf("after %v: %v", time.Since(begun), err)
						}
						var ce *ble.ConnectError
						if err := w.connect(addrB, ""); !errors.As(err, &ce) || ce.Failure != ble.ConnectNoSlot {
							t.Errorf("another device: %v", err)
						}
						w.disconnect(addrA)
					}
				})
			})
		})
	}
}

// Several proxies that are shared as one may have free slots, and none where the device is heard: that is told by the answer
// only, and waited for as long as is configured.
func TestSharedWithoutFittingSlot(t *testing.T) {
	for _, wait := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := gatttest.New("near", thermometer(addrA))
			p.Script = func(_ ble.Address, n int) gatttest.Outcome { return gatttest.Outcome{Refuse: n < 10} }
			policy := gatt.NoSlotFail
			if wait {
				policy = gatt.NoSlotWait
			}
			run(t, gatt.Config{OnNoSlot: func(string) gatt.NoSlot { return policy }, SlotWait: 15 * time.Second}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
				w.m.SetHosts("near", gatt.HostsShared)
				w.hears(addrA, "near")
				err := w.connect(addrA, "")
				var ce *ble.ConnectError
				if wait && err != nil || !wait && (!errors.As(err, &ce) || ce.Failure != ble.ConnectNoSlot) {
					t.Errorf("wait %v: %v", wait, err)
				}
			})
		})
	}
}

// Behind a daemon that shares its proxy, it is that daemon which judges an attempt: it knows what else its radios do.
func TestSharedProxyIsTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatttest.New("near", thermometer(addrA))
		p.Firmware, p.Mute = "2026.10.0", true
		p.Script = func(ble.Address, int) gatttest.Outcome { return gatttest.Outcome{Delay: 8 * time.Second} }
		run(t, gatt.Config{PerPath: 5 * time.Second}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.m.SetHosts("near", gatt.HostsShared)
			w.m.SlotsReport("near", p.Slots())
			w.air.set(addrA, gatt.Path{Proxy: "near", RSSI: -50, Interval: 200 * time.Millisecond})
			err := w.connect(addrA, "")
			if n := p.Count("connect " + addrA.String()); err != nil || n != 1 {
				t.Errorf("%d attempts: %v", n, err)
			}
		})
	})
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
		w.m.AddProxy(q, gatt.HostsNone)
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
