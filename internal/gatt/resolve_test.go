package gatt_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// store is a gatt.Store that tests look into.
type store map[ble.Address]gatt.Record

func (s store) Load(a ble.Address) (gatt.Record, bool) { r, ok := s[a]; return r, ok }
func (s store) Save(a ble.Address, r gatt.Record)      { s[a] = r }

func (s store) Unpairs(string) []ble.Address        { return nil }
func (s store) SetUnpair(string, ble.Address, bool) {}

// keeper is a store that also keeps which bonds are yet to be dropped, by device.
type keeper struct {
	store
	mu      sync.Mutex
	unpairs map[ble.Address]string
}

func newKeeper(s store) *keeper { return &keeper{store: s, unpairs: map[ble.Address]string{}} }

func (k *keeper) Unpairs(proxy string) (out []ble.Address) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for a, p := range k.unpairs {
		if p == proxy {
			out = append(out, a)
		}
	}
	return out
}

func (k *keeper) SetUnpair(proxy string, a ble.Address, pending bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if pending {
		k.unpairs[a] = proxy
	} else if k.unpairs[a] == proxy {
		delete(k.unpairs, a)
	}
}

// withGATT adds the GATT service with Service Changed (17, CCCD 18) and, if hash, the Database Hash (20).
func withGATT(d *gatttest.Peripheral, hash string) *gatttest.Peripheral {
	s := ble.Service{Handle: 15, UUID: ble.UUID16(0x1801), Characteristics: []ble.Characteristic{
		{ValueHandle: 17, UUID: ble.UUIDServiceChanged, Properties: ble.PropIndicate,
			Descriptors: []ble.Descriptor{{Handle: 18, UUID: ble.UUIDCCCD}}}}}
	if hash != "" {
		s.Characteristics = append(s.Characteristics,
			ble.Characteristic{ValueHandle: 20, UUID: ble.UUIDDatabaseHash, Properties: ble.PropRead})
		d.Values[20] = []byte(hash)
	}
	d.Services = append(d.Services, s)
	return d
}

func short(d *gatttest.Peripheral) []ble.Service { return d.Services[1:] }

func TestResolve(t *testing.T) {
	A := addrA.String()
	tests := []struct {
		name    string
		version string
		hash    string
		large   bool // 30 more services
		streams func(d *gatttest.Peripheral) func(ble.Address, int) ([]ble.Service, error)
		set     func(w *world, near, far *gatttest.Proxy)
		events  []string
		counts  map[string]int // calls of near
		done    bool           // Complete
	}{
		{name: "at once", events: []string{"up 247", "connected", "resolved 2 services, mtu 247"},
			counts: map[string]int{"connect " + A: 1, "services " + A: 1}, done: true},
		{name: "first of truncating firmware", version: "2025.11.2", events: []string{"up 247", "connected", "resolved 2 services, mtu 247"},
			counts: map[string]int{"connect " + A: 1}},
		{name: "empty, then good", events: []string{"up 247", "connected", "resolved 2 services, mtu 247"}, done: true,
			streams: func(*gatttest.Peripheral) func(ble.Address, int) ([]ble.Service, error) {
				return func(_ ble.Address, n int) ([]ble.Service, error) {
					if n == 0 {
						return []ble.Service{}, nil
					}
					return nil, nil
				}
			}, counts: map[string]int{"connect " + A: 2, "services " + A: 2, "disconnect " + A: 1}},
		{name: "empty for ever", events: []string{"up 247", "connected", "down 2"},
			streams: func(*gatttest.Peripheral) func(ble.Address, int) ([]ble.Service, error) {
				return func(ble.Address, int) ([]ble.Service, error) { return []ble.Service{}, nil }
			}, counts: map[string]int{"connect " + A: 3, "disconnect " + A: 3}},
		{name: "cut short, then good", version: "2025.11.0", events: []string{"up 247", "connected", "resolved 2 services, mtu 247"},
			streams: func(d *gatttest.Peripheral) func(ble.Address, int) ([]ble.Service, error) {
				return func(_ ble.Address, n int) ([]ble.Service, error) {
					if n == 0 {
						return short(d), nil
					}
					return nil, nil
				}
			}, counts: map[string]int{"connect " + A: 2}},
		{name: "end missing of truncating firmware", version: "2025.11.0", large: true, done: true,
			events: []string{"up 247", "connected", "resolved 32 services, mtu 247"},
			streams: func(d *gatttest.Peripheral) func(ble.Address, int) ([]ble.Service, error) {
				return func(_ ble.Address, n int) ([]ble.Service, error) {
					if n == 0 {
						return d.Services[:20], nil
					}
					return nil, nil
				}
			}, counts: map[string]int{"connect " + A: 3}},
		{name: "end missing the second time", version: "2025.11.0", large: true, done: true,
			events: []string{"up 247", "connected", "resolved 32 services, mtu 247"},
			streams: func(d *gatttest.Peripheral) func(ble.Address, int) ([]ble.Service, error) {
				return func(_ ble.Address, n int) ([]ble.Service, error) {
					if n == 1 {
						return d.Services[:20], nil
					}
					return nil, nil
				}
			}, counts: map[string]int{"connect " + A: 3}},
		{name: "large, of firmware that loses nothing", large: true, done: true,
			events: []string{"up 247", "connected", "resolved 32 services, mtu 247"}, counts: map[string]int{"connect " + A: 1}},
		{name: "end missing the last time", version: "2025.11.0", large: true,
			events: []string{"up 247", "connected", "resolved 31 services, mtu 247"},
			streams: func(d *gatttest.Peripheral) func(ble.Address, int) ([]ble.Service, error) {
				return func(_ ble.Address, n int) ([]ble.Service, error) { return d.Services[:30+n%2], nil }
			}, counts: map[string]int{"connect " + A: 3}},
		{name: "looks cut short and is not", events: []string{"up 247", "connected", "resolved 1 services, mtu 247"}, done: true,
			streams: func(d *gatttest.Peripheral) func(ble.Address, int) ([]ble.Service, error) {
				return func(ble.Address, int) ([]ble.Service, error) { return short(d), nil }
			}, counts: map[string]int{"connect " + A: 2}},
		{name: "no answer, then good", events: []string{"up 247", "connected", "resolved 2 services, mtu 247"}, done: true,
			streams: func(*gatttest.Peripheral) func(ble.Address, int) ([]ble.Service, error) {
				return func(_ ble.Address, n int) ([]ble.Service, error) {
					if n == 0 {
						return nil, fmt.Errorf("near: no answer: %w", ble.ErrTimeout)
					}
					return nil, nil
				}
			}, counts: map[string]int{"connect " + A: 1}}, // the other proxy is tried first
		{name: "silent discovery", events: []string{"up 247", "connected", "resolved 2 services, mtu 247"}, done: true,
			set: func(_ *world, near, _ *gatttest.Proxy) {
				near.StreamDelay = func(ble.Address, int) time.Duration { return time.Hour }
				near.DisconnectDelay = time.Second
			}, counts: map[string]int{"connect " + A: 1, "services " + A: 1}},
		{name: "refused", events: []string{"up 247", "connected", "down 2"},
			streams: func(*gatttest.Peripheral) func(ble.Address, int) ([]ble.Service, error) {
				return func(ble.Address, int) ([]ble.Service, error) { return nil, fmt.Errorf("proxy's stack says no") }
			}, counts: map[string]int{"connect " + A: 1, "disconnect " + A: 1}},
		{name: "hash is kept", hash: "12345678", events: []string{"up 247", "connected", "resolved 3 services, mtu 247"},
			counts: map[string]int{"read " + A + " 20": 1}, done: true},
		{name: "proxy dies mid-discovery", events: []string{"up 247", "connected", "resolved 2 services, mtu 247"}, done: true,
			set: func(_ *world, near, _ *gatttest.Proxy) { time.AfterFunc(120*time.Millisecond, near.GoOffline) }},
		{name: "peripheral leaves mid-discovery", events: []string{"up 247", "connected", "down 3"},
			set: func(_ *world, near, _ *gatttest.Proxy) {
				time.AfterFunc(120*time.Millisecond, func() { near.DropLink(addrA, 0x13) })
			}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				if tc.hash != "" {
					withGATT(dev, tc.hash)
				}
				for i := range uint16(30) {
					if tc.large {
						dev.Services = append(dev.Services, ble.Service{Handle: 20 + i, UUID: ble.UUID{0: 0xb1, 15: byte(i)}})
					}
				}
				near, far := gatttest.New("near", dev), gatttest.New("far", dev)
				if tc.version != "" {
					near.Firmware = tc.version
				}
				if tc.streams != nil {
					near.Streams = tc.streams(dev)
				}
				st := store{}
				run(t, gatt.Config{Store: st}, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
					w.hears(addrA, "near", "far")
					if tc.set != nil {
						tc.set(w, near, far)
					}
					if err := w.connect(addrA, ""); err != nil {
						t.Fatal(err)
					}
					settle(20 * time.Second)
					wantEvents(t, w, tc.events...)
					for call, n := range tc.counts {
						if got := near.Count(call); got != n {
							t.Errorf("%s: %d times, want %d", call, got, n)
						}
					}
					if r := st[addrA]; r.Complete != tc.done || string(r.Hash) != tc.hash {
						t.Errorf("record: complete %v, hash %q", r.Complete, r.Hash)
					}
					if dev.MostAtOnce() != 1 {
						t.Error("two links at once")
					}
				})
			})
		})
	}
}

func TestCache(t *testing.T) {
	A := addrA.String()
	list := []string{"clear-cache " + A, "connect " + A, "services " + A}
	tests := []struct {
		name    string
		hash    string
		version string
		between func(w *world, near *gatttest.Proxy, dev *gatttest.Peripheral)
		via     string
		want    []string // calls of that proxy in the second connection
		events  []string
	}{
		{name: "without evidence", want: list, events: []string{"up 247", "connected", "resolved 2 services, mtu 247"}},
		{name: "database shared, MTU unknown", via: "far", want: list},
		{name: "not confirmed", version: "2026.3.0", want: list},
		{name: "valid hash", hash: "h1", want: []string{"connect-cached " + A, "read " + A + " 20", "mtu " + A,
			"notify " + A + " 17 true", "write-descriptor " + A + " 18 0200"}},
		{name: "hash cannot be read", hash: "h1", between: func(w *world, _ *gatttest.Proxy, dev *gatttest.Peripheral) {
			w.m.Forget(addrA)
			dev.Secure = map[uint16]bool{20: true}
			if err := w.connect(addrA, ""); err != nil {
				t.Error(err)
			}
			settle(time.Second)
			w.disconnect(addrA)
		}, want: append(slices.Clone(list), "notify "+A+" 17 true", "write-descriptor "+A+" 18 0200", "read "+A+" 20")},
		{name: "hash changed", hash: "h1", between: func(_ *world, _ *gatttest.Proxy, dev *gatttest.Peripheral) {
			dev.Values[20] = []byte("h2")
			dev.Services = append(dev.Services, ble.Service{Handle: 30, UUID: ble.UUID16(0xfff8)})
		}, want: []string{"connect-cached " + A, "read " + A + " 20", "disconnect " + A, "clear-cache " + A, "connect " + A,
			"services " + A, "notify " + A + " 17 true", "write-descriptor " + A + " 18 0200", "read " + A + " 20"},
			events: []string{"up 247", "connected", "resolved 4 services, mtu 247"}},
		{name: "ClearCache", between: func(w *world, near *gatttest.Proxy, _ *gatttest.Peripheral) {
			if ok, err := w.m.ClearCache(context.Background(), addrA); !ok || err != nil || near.Count("clear-cache "+A) != 2 {
				t.Errorf("ClearCache = %v, %v", ok, err)
			}
		}, want: list},
		{name: "ClearCache without the feature", between: func(w *world, near *gatttest.Proxy, _ *gatttest.Peripheral) {
			near.Flags &^= ble.FeatureCacheClearing
			if ok, err := w.m.ClearCache(context.Background(), addrA); !ok || err != nil || near.Count("clear-cache "+A) != 1 {
				t.Errorf("ClearCache = %v, %v", ok, err)
			}
		}, want: []string{"connect " + A, "services " + A}},
		{name: "unknown attribute", between: func(w *world, _ *gatttest.Proxy, _ *gatttest.Peripheral) {
			if err := w.connect(addrA, ""); err != nil {
				t.Error(err)
			}
			_, _ = w.read(addrA, 14)
			w.disconnect(addrA)
		}, want: []string{"clear-cache " + A, "connect " + A, "services " + A}},
		{name: "Forget", between: func(w *world, _ *gatttest.Proxy, _ *gatttest.Peripheral) { w.m.Forget(addrA) },
			want: list},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				if tc.hash != "" {
					withGATT(dev, tc.hash)
				}
				near, far := gatttest.New("near", dev), gatttest.New("far", dev)
				if tc.version != "" {
					near.Firmware = tc.version
				}
				run(t, gatt.Config{}, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
					w.hears(addrA, "near", "far")
					if err := w.connect(addrA, ""); err != nil {
						t.Fatal(err)
					}
					settle(time.Second)
					w.disconnect(addrA)
					if tc.between != nil {
						tc.between(w, near, dev)
					}
					settle(time.Second)
					w.take()
					p := near
					if tc.via == "far" {
						p = far
					}
					before := len(p.Calls())
					if err := w.connect(addrA, tc.via); err != nil {
						t.Fatal(err)
					}
					settle(5 * time.Second)
					if d := cmp.Diff(tc.want, p.Calls()[before:]); d != "" {
						t.Errorf("calls (-want +got):\n%s", d)
					}
					if tc.events != nil {
						wantEvents(t, w, tc.events...)
					}
				})
			})
		})
	}
}

func TestServiceChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := withGATT(thermometer(addrA), "")
		p := gatttest.New("near", dev)
		p.DoubleReport = true
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
			if err := w.subscribe(addrA, 8); err != nil {
				t.Fatal(err)
			}
			w.take()
			dev.Services = append(dev.Services, ble.Service{Handle: 30, UUID: ble.UUID16(0xfff8)})
			p.SendNotification(addrA, 17, []byte{1, 0, 255, 255})
			settle(3 * time.Second)
			wantEvents(t, w, "changed 4 services")
			// Subscriptions are armed again, and operations still work.
			p.SendNotification(addrA, 8, []byte("x"))
			wantEvents(t, w, "notified 8 x")
			if v, err := w.read(addrA, 6); v != "21.5" || err != nil {
				t.Errorf("Read = %q, %v", v, err)
			}
			// A caller may subscribe to it as well; that he ends it does not end our own.
			settle(10 * time.Second)
			if err := w.subscribe(addrA, 17); err != nil {
				t.Fatal(err)
			}
			p.SendNotification(addrA, 17, []byte("sc"))
			settle(3 * time.Second)
			wantEvents(t, w, "notified 17 sc")
			w.m.Unsubscribe(addrA, 17)
			settle(10 * time.Second)
			// A peripheral that indicates all the time is heeded now and then, and unchanged databases are no news.
			connects := p.Count("connect " + addrA.String())
			for range 100 {
				p.SendNotification(addrA, 17, []byte{1, 0, 255, 255})
				settle(100 * time.Millisecond)
			}
			if n := p.Count("connect "+addrA.String()) - connects; n < 1 || n > 3 {
				t.Errorf("%d rediscoveries in 10 s", n)
			}
			wantEvents(t, w)
		})
	})
}
