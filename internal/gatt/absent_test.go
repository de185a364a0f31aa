package gatt_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// absent are devices that are off; the proxies dial them for as long as they are told to.
func absent(n int) []ble.Address {
	var out []ble.Address
	for i := range n {
		out = append(out, ble.Address(0xBB0000000000+uint64(i)))
	}
	return out
}

// retry connects to devices for ever, as programs do, until stop is closed.
func (w *world) retry(stop <-chan struct{}, devices ...ble.Address) {
	for _, a := range devices {
		var again func(error)
		again = func(error) {
			select {
			case <-stop:
			case <-time.After(500 * time.Millisecond):
				w.m.Connect(a, ble.Random, "", func(err error) { go again(err) })
			}
		}
		go again(nil)
	}
}

// dialled is for how long p dialled, of d, and the longest time at once.
type dialled struct{ all, longest time.Duration }

// watch looks at a proxy every 10 ms for d: while it has an attempt in progress it neither scans nor dials another.
func watch(p *gatttest.Proxy, d time.Duration) dialled {
	var out dialled
	var run time.Duration
	for range d / (10 * time.Millisecond) {
		settle(10 * time.Millisecond)
		if p.Dials() {
			run += 10 * time.Millisecond
			out.all += 10 * time.Millisecond
			out.longest = max(out.longest, run)
		} else {
			run = 0
		}
	}
	return out
}

// TestAbsentCostsNobody: devices that are off and wanted for ever leave a proxy at least 90 % of its time, and a device
// that is there is connected at once, all the time. The devices were linked before, so that their last proxy is known.
func TestAbsentCostsNobody(t *testing.T) {
	for _, tc := range []struct {
		name      string
		n         int
		proxies   int
		firmware  string
		listening bool
		state     func(w *world, off []ble.Address) // how the proxies know them
	}{
		{"one, long gone", 1, 1, "2026.10.0", true, func(*world, []ble.Address) {}},
		{"five, long gone", 5, 1, "2026.10.0", true, func(*world, []ble.Address) {}},
		{"five, long gone, two proxies", 5, 2, "2026.10.0", true, func(*world, []ble.Address) {}},
		{"three, known from half a minute ago", 3, 1, "2026.10.0", true, func(w *world, off []ble.Address) {
			for _, a := range off {
				w.hears(a, "near")
				w.falls(a)
			}
			settle(30 * time.Second)
		}},
		{"five, firmware that cannot stop", 5, 1, "2026.7.3", true, func(*world, []ble.Address) {}},
		{"three, firmware that stops late", 3, 1, "2026.9.1", true, func(*world, []ble.Address) {}},
		{"three, and nobody else", 3, 1, "2026.10.0", false, func(*world, []ble.Address) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here := thermometer(addrA)
				st := store{}
				names := []string{"near", "far"}[:tc.proxies]
				var proxies []*gatttest.Proxy
				for _, n := range names {
					p := gatttest.New(n, here)
					p.Firmware = tc.firmware
					proxies = append(proxies, p)
				}
				off := absent(tc.n)
				for _, a := range off {
					st[a] = gatt.Record{Last: "near"}
				}
				cfg := gatt.Config{Store: st, Listening: func() bool { return tc.listening }}
				run(t, cfg, proxies, func(t *testing.T, w *world) {
					w.hears(addrA, names...)
					tc.state(w, off)
					stop := make(chan struct{})
					w.retry(stop, off...)
					if tc.listening {
						got := watch(proxies[0], 2*time.Minute)
						if got.all > 12*time.Second || got.longest > time.Second {
							t.Errorf("dialled for %v of 2 min, %v at once", got.all, got.longest)
						}
					}
					for range 40 {
						start := time.Now()
						if err := w.connect(addrA, ""); err != nil {
							t.Error(err)
						}
						if took := time.Since(start); took > 150*time.Millisecond {
							t.Errorf("Connect of the one that is here took %v", took)
						}
						w.disconnect(addrA)
						settle(1300 * time.Millisecond)
					}
					close(stop)
					settle(time.Minute)
				})
			})
		})
	}
}

// TestJustWentOff: a device that went off a moment ago is given up soon, and others go first.
func TestJustWentOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here := thermometer(addrA)
		p := gatttest.New("near", here)
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			off := absent(1)
			w.air.set(off[0], gatt.Path{Proxy: "near", RSSI: -50, LastHeard: time.Now(), Interval: 100 * time.Millisecond})
			stop := make(chan struct{})
			w.retry(stop, off...)
			settle(3100 * time.Millisecond) // dialled for 2.6 s, 25 of its adverts
			start := time.Now()
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 150*time.Millisecond {
				t.Errorf("Connect took %v", took)
			}
			w.disconnect(addrA)
			if got := watch(p, time.Minute); got.all > 3*time.Second {
				t.Errorf("dialled for %v of a minute", got.all)
			}
			close(stop)
			settle(time.Minute)
		})
	})
}

// TestAbsentFails: within 20 s, with what a user is to know.
func TestAbsentFails(t *testing.T) {
	for _, tc := range []struct {
		name string
		rec  gatt.Record
		path []gatt.Path
	}{
		{"never heard", gatt.Record{}, nil},
		{"known of old", gatt.Record{Last: "near"}, nil},
		{"bonded", gatt.Record{Last: "near", Bonded: "near"}, nil},
		{"in the table", gatt.Record{}, []gatt.Path{{Proxy: "near", RSSI: -60, LastHeard: time.Unix(1, 0)}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := gatttest.New("near")
				a := absent(1)[0]
				run(t, gatt.Config{Store: store{a: tc.rec}}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.air.set(a, tc.path...)
					start := time.Now()
					err := w.connect(a, "")
					if took := time.Since(start); took > 20*time.Second {
						t.Errorf("took %v", took)
					}
					var ce *ble.ConnectError
					if !errors.As(err, &ce) || ce.Failure != ble.ConnectTimeout || !strings.Contains(ce.Detail, "no proxy heard") {
						t.Errorf("%v", err)
					}
					for _, bad := range []string{"deadline", "not yet released"} {
						if strings.Contains(ce.Detail, bad) {
							t.Errorf("the detail says %q: %s", bad, ce.Detail)
						}
					}
				})
			})
		})
	}
}

// TestSlowAdvertiser: a device that advertises every 10 s is connected, whenever it is asked for.
func TestSlowAdvertiser(t *testing.T) {
	const every = 10 * time.Second
	for _, firmware := range []string{"2026.10.0", "2026.7.0"} {
		for phase := time.Duration(0); phase < every; phase += 700 * time.Millisecond {
			for _, tc := range []struct {
				known  time.Duration // the interval, as the scanner learned it
				second bool          // another proxy hears the same, reported a moment later
			}{{0, false}, {every, false}, {0, true}, {every, true}} {
				known := tc.known
				synctest.Test(t, func(t *testing.T) {
					dev := thermometer(addrA)
					p := gatttest.New("near", dev)
					p.Firmware = firmware
					begin := time.Now()
					next := func() time.Duration { return every - time.Since(begin)%every }
					p.Script = func(ble.Address, int) gatttest.Outcome { return gatttest.Outcome{Delay: next()} }
					proxies := []*gatttest.Proxy{p}
					if tc.second {
						far := gatttest.New("far", thermometer(addrA))
						far.Firmware, far.Script = firmware, p.Script
						proxies = append(proxies, far)
					}
					off := absent(2)
					run(t, gatt.Config{Store: store{off[0]: {Last: "near"}, off[1]: {Last: "near"}}}, proxies, func(t *testing.T, w *world) {
						stop := make(chan struct{})
						w.retry(stop, off...)
						paths := make(map[string]gatt.Path)
						go func() {
							for {
								select {
								case <-stop:
									return
								case <-time.After(next()):
								}
								for i, p := range proxies {
									if p.Dials() { // then the scanner stands still
										continue
									}
									time.Sleep(time.Duration(i) * 200 * time.Millisecond)
									paths[p.Name()] = gatt.Path{Proxy: p.Name(), RSSI: -60 - 5*i, LastHeard: time.Now(), Interval: known}
									w.air.set(addrA, slices.Collect(maps.Values(paths))...)
									w.m.Heard(addrA)
								}
							}
						}()
						settle(2*every + phase)
						if err := w.connect(addrA, ""); err != nil {
							t.Errorf("%s, %v after an advertisement, interval %v, second proxy %v: %v", firmware, phase, known, tc.second, err)
						}
						close(stop)
						settle(time.Minute)
					})
				})
			}
		}
	}
}
