package gatt_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

func always(o gatttest.Outcome) func(ble.Address, int) gatttest.Outcome {
	return func(ble.Address, int) gatttest.Outcome { return o }
}

// first is the outcome of the first n attempts; the others succeed.
func first(n int, o gatttest.Outcome) func(ble.Address, int) gatttest.Outcome {
	return func(_ ble.Address, i int) gatttest.Outcome {
		if i < n {
			return o
		}
		return gatttest.Outcome{Delay: 100 * time.Millisecond}
	}
}

func TestConnectOutcomes(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name    string
		cfg     gatt.Config
		set     func(near, far *gatttest.Proxy, w *world)
		via     string
		unheard bool
		link    string // proxy that has the link; else the failure:
		failure ble.ConnectFailure
		detail  []string
		after   time.Duration // at most
		atLeast time.Duration
	}{
		{name: "best proxy", link: "near", after: 200 * ms},
		{name: "via the other", via: "far", link: "far", after: 200 * ms},
		{name: "best refuses", link: "far", after: 400 * ms,
			set: func(n, _ *gatttest.Proxy, _ *world) { n.Script = always(gatttest.Outcome{Delay: 100 * ms, Code: 0x3e}) }},
		{name: "best hangs", link: "far", after: 9 * time.Second, atLeast: 8 * time.Second,
			set: func(n, _ *gatttest.Proxy, _ *world) { n.Script = always(gatttest.Outcome{Hang: true}) }},
		{name: "best full", link: "far", after: 200 * ms,
			set: func(n, _ *gatttest.Proxy, _ *world) { n.SetLimit(0) }},
		{name: "best is passive", link: "far", after: 200 * ms,
			set: func(n, _ *gatttest.Proxy, _ *world) { n.Flags = 0x61 }},
		{name: "best is offline", link: "far", after: 200 * ms,
			set: func(n, _ *gatttest.Proxy, _ *world) { n.GoOffline() }},
		{name: "best dies mid-connect", link: "far", after: 400 * ms,
			set: func(n, _ *gatttest.Proxy, _ *world) {
				n.Script = always(gatttest.Outcome{Hang: true})
				time.AfterFunc(100*ms, n.GoOffline)
			}},
		{name: "best loses the link at once", link: "far", after: 400 * ms,
			set: func(n, _ *gatttest.Proxy, _ *world) { n.Script = always(gatttest.Outcome{Delay: 100 * ms, Lose: true}) }},
		{name: "pinned to the worse", link: "far", after: 200 * ms,
			cfg: gatt.Config{Rules: func(ble.Address) gatt.Rule { return gatt.Rule{Pin: "far"} }}},
		{name: "worse preferred", link: "far", after: 200 * ms,
			cfg: gatt.Config{Rules: func(ble.Address) gatt.Rule { return gatt.Rule{Prefer: []string{"far"}} }}},
		{name: "best denied", link: "far", after: 200 * ms,
			cfg: gatt.Config{Rules: func(ble.Address) gatt.Rule { return gatt.Rule{Deny: []string{"near"}} }}},
		{name: "all denied", failure: ble.ConnectBlocked, detail: []string{"near", "far", "configuration"}, after: ms,
			cfg: gatt.Config{Rules: func(ble.Address) gatt.Rule { return gatt.Rule{Deny: []string{"near", "far"}} }}},
		{name: "all passive", failure: ble.ConnectBlocked, detail: []string{"near (ESPHome 2026.10.0)", "far"}, after: ms,
			set: func(n, f *gatttest.Proxy, _ *world) { n.Flags, f.Flags = 0x61, 0x61 }},
		{name: "no remote caching", failure: ble.ConnectBlocked, via: "near", after: ms,
			set: func(n, _ *gatttest.Proxy, _ *world) { n.Flags = 0x03 }},
		{name: "both refuse", failure: ble.ConnectRefused, detail: []string{"near: ended by the peripheral", "far: "}, after: 3 * time.Second,
			set: func(n, f *gatttest.Proxy, _ *world) {
				n.Script = always(gatttest.Outcome{Delay: 100 * ms, Code: 0x13})
				f.Script = n.Script
			}},
		{name: "both fail to establish", failure: ble.ConnectTimeout, detail: []string{"near", "far", "0x3e"}, after: 3 * time.Second,
			set: func(n, f *gatttest.Proxy, _ *world) {
				n.Script = always(gatttest.Outcome{Delay: 100 * ms, Code: 0x3e})
				f.Script = n.Script
			}},
		{name: "second try succeeds", link: "near", via: "near", after: 2 * time.Second,
			set: func(n, _ *gatttest.Proxy, _ *world) {
				n.Script = func(_ ble.Address, i int) gatttest.Outcome {
					if i == 0 {
						return gatttest.Outcome{Delay: 100 * ms, Code: 0x85}
					}
					return gatttest.Outcome{Delay: 100 * ms}
				}
			}},
		{name: "only path fails three times in passing", link: "near", via: "near", after: 4 * time.Second,
			set: func(n, _ *gatttest.Proxy, _ *world) {
				n.Script = first(3, gatttest.Outcome{Delay: 100 * ms, Code: 0x3e})
			}},
		{name: "only path is refused twice", failure: ble.ConnectRefused, via: "near", detail: []string{"ended by the peripheral"}, after: time.Second,
			set: func(n, _ *gatttest.Proxy, _ *world) {
				n.Script = first(2, gatttest.Outcome{Delay: 100 * ms, Code: 0x13})
			}},
		{name: "only path does not answer once", link: "near", via: "near", after: 9 * time.Second, atLeast: 8 * time.Second,
			set: func(n, _ *gatttest.Proxy, _ *world) { n.Script = first(1, gatttest.Outcome{Hang: true}) }},
		{name: "only path loses the request", link: "near", via: "near", after: 8 * time.Second, atLeast: 6 * time.Second,
			set: func(n, _ *gatttest.Proxy, w *world) {
				n.Firmware, n.Script = "2025.11.0", first(1, gatttest.Outcome{Hang: true})
				n.Mute = true
				n.Sink.SlotsReport("near", n.Slots())
			}},
		{name: "only path cannot stop an attempt", failure: ble.ConnectTimeout, via: "near", after: 20*time.Second + ms, atLeast: 20 * time.Second,
			set: func(n, _ *gatttest.Proxy, _ *world) {
				n.Firmware, n.Script = "2026.7.3", first(1, gatttest.Outcome{Hang: true})
			}},
		{name: "only path hangs", failure: ble.ConnectTimeout, via: "near", detail: []string{"near"},
			after: 20*time.Second + ms, atLeast: 20 * time.Second,
			set: func(n, _ *gatttest.Proxy, _ *world) { n.Script = always(gatttest.Outcome{Hang: true}) }},
		{name: "unheard", unheard: true, failure: ble.ConnectTimeout, detail: []string{"no proxy heard"},
			after: 20*time.Second + ms, atLeast: 20 * time.Second},
		{name: "heard later", unheard: true, link: "far", after: 4 * time.Second, atLeast: 3 * time.Second,
			set: func(_, _ *gatttest.Proxy, w *world) {
				time.AfterFunc(3*time.Second, func() { w.hears(addrA, "far"); w.m.Heard(addrA) })
			}},
		{name: "no slots", failure: ble.ConnectNoSlot, detail: []string{"connection slot", "near", "far"},
			after: 5*time.Second + ms, atLeast: 5 * time.Second,
			set: func(n, f *gatttest.Proxy, _ *world) { n.SetLimit(0); f.SetLimit(0) }},
		{name: "no slots, fail at once", failure: ble.ConnectNoSlot, detail: []string{"connection slot"}, after: ms,
			cfg: gatt.Config{OnNoSlot: func(string) gatt.NoSlot { return gatt.NoSlotFail }},
			set: func(n, f *gatttest.Proxy, _ *world) { n.SetLimit(0); f.SetLimit(0) }},
		{name: "slot after a while", link: "far", after: 3*time.Second + 200*ms, atLeast: 3 * time.Second,
			set: func(n, f *gatttest.Proxy, _ *world) {
				n.SetLimit(0)
				f.SetLimit(0)
				time.AfterFunc(3*time.Second, func() { f.SetLimit(1) })
			}},
		{name: "answers without a reason though a slot is free", failure: ble.ConnectRefused, via: "near", after: time.Second,
			set: func(n, _ *gatttest.Proxy, _ *world) { n.Limit = 0 }},
		{name: "all offline", failure: ble.ConnectRefused, detail: []string{"near: offline"}, after: 20*time.Second + ms,
			set: func(n, f *gatttest.Proxy, _ *world) { n.GoOffline(); f.GoOffline() }},
		{name: "comes online", link: "near", after: 2*time.Second + 200*ms, atLeast: 2 * time.Second,
			set: func(n, f *gatttest.Proxy, _ *world) {
				n.GoOffline()
				f.GoOffline()
				time.AfterFunc(2*time.Second, n.GoOnline)
			}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				near, far := gatttest.New("near", dev), gatttest.New("far", dev)
				run(t, tc.cfg, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
					if !tc.unheard {
						w.hears(addrA, "near", "far")
					}
					synctest.Wait() // nothing looks at the proxies any more
					if tc.set != nil {
						tc.set(near, far, w)
					}
					start := time.Now()
					err := w.connect(addrA, tc.via)
					took := time.Since(start)
					if took > tc.after || took < tc.atLeast {
						t.Errorf("took %v, want %v…%v", took, tc.atLeast, tc.after)
					}
					settle(6 * time.Second)
					if dev.MostAtOnce() > 1 {
						t.Errorf("%d proxies dialled at once", dev.MostAtOnce())
					}
					if tc.link != "" {
						if err != nil {
							t.Fatalf("Connect: %v", err)
						}
						want := []string{"up 247", "connected", "resolved 2 services, mtu 247"}
						if d := cmp.Diff(want, w.take()); d != "" {
							t.Error(d)
						}
						for _, p := range []*gatttest.Proxy{near, far} {
							want := 0
							if p.Name() == tc.link {
								want = 1
							}
							if got := p.Allocated(); len(got) != want {
								t.Errorf("%s holds slots for %v, want %d", p.Name(), got, want)
							}
						}
						return
					}
					var ce *ble.ConnectError
					if !errors.As(err, &ce) {
						t.Fatalf("Connect: %v, want a ConnectError", err)
					}
					if ce.Failure != tc.failure {
						t.Errorf("failure %d, want %d (%s)", ce.Failure, tc.failure, ce.Detail)
					}
					for _, s := range tc.detail {
						if !strings.Contains(ce.Detail, s) {
							t.Errorf("detail %q lacks %q", ce.Detail, s)
						}
					}
					if e := w.take(); len(e) > 0 {
						t.Errorf("told %q", e)
					}
					for _, p := range []*gatttest.Proxy{near, far} {
						if got := p.Allocated(); len(got) > 0 {
							t.Errorf("%s still holds slots for %v", p.Name(), got)
						}
					}
				})
			})
		})
	}
}
