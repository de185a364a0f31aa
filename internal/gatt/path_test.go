package gatt_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

const addrC = ble.Address(0xAA0000000003)

// TestParkedAttempts: an ESP makes one attempt at a time, and those behind it are not to blame.
func TestParkedAttempts(t *testing.T) {
	preferNear := gatt.Config{Rules: func(ble.Address) gatt.Rule { return gatt.Rule{Prefer: []string{"near"}} }}
	tests := []struct {
		name  string
		near  map[ble.Address]gatttest.Outcome // attempts through near
		busy  bool                             // far has an attempt that hangs
		link  string                           // who has the link to B
		after time.Duration
	}{
		{"another proxy is idle", map[ble.Address]gatttest.Outcome{addrA: {Hang: true}, addrB: {Hang: true}}, false, "far", 2100 * time.Millisecond},
		{"both are busy: its time begins with its turn",
			map[ble.Address]gatttest.Outcome{addrA: {Delay: 7 * time.Second}, addrB: {Delay: 13 * time.Second}}, true, "near", 13 * time.Second},
		{"both are busy: its turn comes to nothing",
			map[ble.Address]gatttest.Outcome{addrA: {Delay: 3 * time.Second}, addrB: {Hang: true}}, true, "far", 11100 * time.Millisecond},
		{"its turn comes soon", map[ble.Address]gatttest.Outcome{addrA: {Delay: time.Second}, addrB: {Delay: 1500 * time.Millisecond}}, false, "near",
			1500 * time.Millisecond},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, c := thermometer(addrA), thermometer(addrB), thermometer(addrC)
				near, far := gatttest.New("near", a, b, c), gatttest.New("far", a, b, c)
				near.Firmware, far.Firmware = "2026.7.0", "2026.7.0" // which finish what they began
				near.Script = func(a ble.Address, _ int) gatttest.Outcome { return tc.near[a] }
				far.Script = func(a ble.Address, _ int) gatttest.Outcome {
					if a == addrC {
						return gatttest.Outcome{Hang: true}
					}
					return gatttest.Outcome{Delay: 100 * time.Millisecond}
				}
				run(t, preferNear, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
					w.hears(addrA, "near")
					w.m.Connect(addrA, ble.Public, "", func(error) {})
					if tc.busy {
						w.hears(addrC, "far")
						w.m.Connect(addrC, ble.Public, "", func(error) {})
					}
					synctest.Wait()
					w.hears(addrB, "near", "far")
					start := time.Now()
					if err := w.connect(addrB, ""); err != nil {
						t.Fatal(err)
					}
					if took := time.Since(start); took != tc.after {
						t.Errorf("took %v, want %v", took, tc.after)
					}
					settle(time.Second)
					for _, p := range []*gatttest.Proxy{near, far} {
						has := false
						for _, a := range p.Allocated() {
							has = has || a == addrB
						}
						if has != (p.Name() == tc.link) {
							t.Errorf("%s has a slot for it: %v", p.Name(), has)
						}
					}
				})
			})
		})
	}
}

// TestSilentProxy: a proxy that does not even report the slot of a new attempt is left soon, if another is there.
func TestSilentProxy(t *testing.T) {
	for _, tc := range []struct {
		name   string
		heard  []string
		silent func(*gatttest.Proxy)
		after  time.Duration
	}{
		{"another path", []string{"near", "far"}, func(p *gatttest.Proxy) { p.Mute = true }, 2100 * time.Millisecond},
		{"no other path", []string{"near"}, func(p *gatttest.Proxy) { p.Mute = true }, 5 * time.Second},
		{"firmware without the list", []string{"near", "far"}, func(p *gatttest.Proxy) { p.Mute, p.NoList = true, true }, 5 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				near, far := gatttest.New("near", dev), gatttest.New("far", dev)
				near.Script = always(gatttest.Outcome{Delay: 5 * time.Second})
				run(t, gatt.Config{}, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
					w.hears(addrA, tc.heard...)
					synctest.Wait()
					tc.silent(near)
					near.Sink.SlotsReport("near", near.Slots())
					start := time.Now()
					if err := w.connect(addrA, ""); err != nil {
						t.Fatal(err)
					}
					if took := time.Since(start); took != tc.after {
						t.Errorf("took %v, want %v", took, tc.after)
					}
				})
			})
		})
	}
}

// TestOutOfReach: where the best proxy does not reach a device that another one hears all the time, that one is dialled
// as soon as the device's advertising interval tells, if firmware can end the attempt at once, and after
// connect.per_path elsewhere.
func TestOutOfReach(t *testing.T) {
	for _, tc := range []struct {
		firmware string
		interval time.Duration
		least    time.Duration
	}{
		{"2026.10.0", 100 * time.Millisecond, 3 * time.Second},
		{"2026.10.0", 300 * time.Millisecond, 6 * time.Second},
		{"2026.10.0", time.Second, 8 * time.Second},
		{"2026.9.1", 100 * time.Millisecond, 8 * time.Second},
		{"2025.11.0", 100 * time.Millisecond, 8 * time.Second},
	} {
		t.Run(fmt.Sprint(tc.firmware, " ", tc.interval), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				near, far := gatttest.New("near", dev), gatttest.New("far", dev)
				near.Firmware = tc.firmware
				near.Script = always(gatttest.Outcome{Hang: true})
				run(t, gatt.Config{}, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
					w.air.set(addrA, gatt.Path{Proxy: "near", RSSI: -50, Interval: tc.interval}, gatt.Path{Proxy: "far", RSSI: -60, Interval: tc.interval})
					start := time.Now()
					if err := w.connect(addrA, ""); err != nil {
						t.Fatal(err)
					}
					if took := time.Since(start); took < tc.least || took > tc.least+200*time.Millisecond {
						t.Errorf("took %v, want %v", took, tc.least)
					}
				})
			})
		})
	}
}

// TestWaits: whoever feeds advertisements in need only do so while somebody waits.
func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatttest.New("near", thermometer(addrA))
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			if w.m.Waits() {
				t.Error("somebody waits from the beginning")
			}
			w.m.Connect(addrA, ble.Public, "", func(error) {})
			settle(time.Second)
			if !w.m.Waits() {
				t.Error("nobody waits although a device is unheard")
			}
			w.hears(addrA, "near")
			w.m.Heard(addrA)
			settle(time.Second)
			if w.m.Waits() {
				t.Error("somebody waits although the link is up")
			}
		})
	})
}

// TestUnpairLater: a proxy that is offline when its bond is to go is told once it is back, also by the next run, and
// also if it was not there at all then, as before its first session.
func TestUnpairLater(t *testing.T) {
	for _, tc := range []struct {
		name   string
		gone   bool // removed before Forget
		reborn bool // another run after it
	}{
		{"back in the same run", false, false},
		{"not there", true, false},
		{"the next run", false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := gatttest.New("near", thermometer(addrA))
				st := newKeeper(store{})
				run(t, gatt.Config{Store: st}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.hears(addrA, "near")
					if err := w.connect(addrA, ""); err != nil {
						t.Fatal(err)
					}
					if err := w.pair(); err != nil {
						t.Fatal(err)
					}
					unpaired := func() int { settle(time.Second); return p.Count("unpair " + addrA.String()) }
					p.GoOffline()
					if tc.gone {
						w.m.RemoveProxy(p.Name())
					}
					w.m.Forget(addrA)
					if n := unpaired(); n != 0 {
						t.Fatalf("unpaired %d times while offline", n)
					}
					if tc.reborn {
						w.m.Close(t.Context())
						w.m = gatt.New(gatt.Config{Air: w.air, Events: w, Store: st})
						p.Sink = w.m
					}
					w.m.AddProxy(p, gatt.HostsNone)
					p.GoOnline()
					if n := unpaired(); n != 1 {
						t.Errorf("unpaired %d times, want once", n)
					}
					p.GoOffline()
					p.GoOnline()
					if n := unpaired(); n != 1 {
						t.Errorf("unpaired %d times after another session, want once", n)
					}
				})
			})
		})
	}
}

// TestMayPair: an operation that needs security pairs by itself only if that is allowed, or for a bonded device.
func TestMayPair(t *testing.T) {
	for _, tc := range []struct {
		name  string
		may   bool
		bond  string // the proxy that has it
		pairs int
		want  error
	}{
		{"forbidden", false, "", 0, ble.ATTAuthentication},
		{"allowed", true, "", 1, nil},
		{"forbidden, but bonded", false, "near", 1, nil},
		{"bonded through a proxy that is away", true, "far", 0, ble.ATTAuthentication},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				dev.Secure = map[uint16]bool{6: true}
				p := gatttest.New("near", dev)
				st := store{}
				if tc.bond != "" {
					st[addrA] = gatt.Record{Bonded: tc.bond}
				}
				run(t, gatt.Config{Store: st, MayPair: func(ble.Address) bool { return tc.may }}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.hears(addrA, "near")
					if err := w.connect(addrA, ""); err != nil {
						t.Fatal(err)
					}
					settle(time.Second)
					_, err := w.read(addrA, 6)
					if err != tc.want {
						t.Errorf("read: %v, want %v", err, tc.want)
					}
					if n := p.Count("pair " + addrA.String()); n != tc.pairs {
						t.Errorf("paired %d times, want %d", n, tc.pairs)
					}
				})
			})
		})
	}
}

// TestExtendedProperties: they are read with the database, once, and kept with it.
func TestExtendedProperties(t *testing.T) {
	for _, tc := range []struct {
		name  string
		props ble.Properties
		value []byte // nil: an ATT error
		want  ble.ExtendedProperties
		reads int
	}{
		{"reliable write", ble.PropWrite | ble.PropExtended, []byte{1, 0}, ble.ExtReliableWrite, 1},
		{"both", ble.PropWrite | ble.PropExtended, []byte{3, 0}, ble.ExtReliableWrite | ble.ExtWritableAuxiliaries, 1},
		{"empty", ble.PropWrite | ble.PropExtended, []byte{}, 0, 1},
		{"unreadable", ble.PropWrite | ble.PropExtended, nil, 0, 1},
		{"without the property", ble.PropWrite, []byte{1, 0}, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				last := &dev.Services[1].Characteristics[3]
				last.Properties = tc.props
				last.Descriptors = []ble.Descriptor{{Handle: 15, UUID: ble.UUIDExtendedProps}}
				if tc.value != nil {
					dev.Values[15] = tc.value
				}
				dev.Services = append(dev.Services, ble.Service{Handle: 40, UUID: ble.UUID16(0x1801), Characteristics: []ble.Characteristic{
					{ValueHandle: 42, UUID: ble.UUIDDatabaseHash, Properties: ble.PropRead}}})
				dev.Values[42] = []byte("hash")
				p := gatttest.New("near", dev)
				st := store{}
				run(t, gatt.Config{Store: st}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.hears(addrA, "near")
					for range 2 { // the second link is a cached one
						if err := w.connect(addrA, ""); err != nil {
							t.Fatal(err)
						}
						settle(time.Second)
						if got := w.dbs[len(w.dbs)-1].Services[1].Characteristics[3].Extended; got != tc.want {
							t.Errorf("extended properties %v, want %v", got, tc.want)
						}
						w.disconnect(addrA)
						settle(time.Second)
					}
					if n := p.Count("read-descriptor " + addrA.String() + " 15"); n != tc.reads {
						t.Errorf("read %d times, want %d", n, tc.reads)
					}
					if n := p.Count("connect-cached " + addrA.String()); n != 1 {
						t.Errorf("%d cached connections, want 1", n)
					}
				})
			})
		})
	}
}

// TestHeardFirstByWhoCannot: who hears a device first may be a proxy that cannot connect to it, or may not. One that
// can mostly hears it a moment later, and is waited for; where there is none, and where it never does, Connect says at
// once or soon what is in the way.
func TestHeardFirstByWhoCannot(t *testing.T) {
	const later = 1200 * time.Millisecond
	pinned := gatt.Config{Rules: func(ble.Address) gatt.Rule { return gatt.Rule{Pin: "far"} }}
	denied := gatt.Config{Rules: func(ble.Address) gatt.Rule { return gatt.Rule{Deny: []string{"near"}} }}
	passive := func(n, _ *gatttest.Proxy) { n.Flags = 0x61 }
	for _, tc := range []struct {
		name  string
		cfg   gatt.Config
		set   func(near, far *gatttest.Proxy)
		hears bool // far does, later
		link  bool
		after time.Duration
	}{
		{name: "pinned to who hears it later", cfg: pinned, hears: true, link: true, after: later},
		{name: "denied to who hears it first", cfg: denied, hears: true, link: true, after: later},
		{name: "who hears it first is passive", set: passive, hears: true, link: true, after: later},
		{name: "pinned to who never hears it", cfg: pinned, after: 3 * time.Second},
		{name: "who hears it is passive, the other one does not", set: passive, after: 3 * time.Second},
		{name: "none of them can", set: func(n, f *gatttest.Proxy) { n.Flags, f.Flags = 0x61, 0x61 }},
		{name: "who can is offline", set: func(n, f *gatttest.Proxy) { n.Flags = 0x61; f.GoOffline() }},
		{name: "who can may not", cfg: denied, set: func(_, f *gatttest.Proxy) { f.Flags = 0x61 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				near, far := gatttest.New("near", dev), gatttest.New("far", dev)
				run(t, tc.cfg, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
					if tc.set != nil {
						tc.set(near, far)
						near.SendSlots()
					}
					first := gatt.Path{Proxy: "near", RSSI: -50, Interval: 500 * time.Millisecond}
					w.air.set(addrA, first)
					if tc.hears {
						time.AfterFunc(later, func() {
							w.air.set(addrA, first, gatt.Path{Proxy: "far", RSSI: -60, Interval: 500 * time.Millisecond})
							w.m.Heard(addrA)
						})
					}
					start := time.Now()
					err := w.connect(addrA, "")
					took := time.Since(start)
					if (err == nil) != tc.link || took < tc.after || took > tc.after+700*time.Millisecond {
						t.Errorf("%v after %v, want %v", err, took, tc.after)
					}
					if tc.link != (len(far.Allocated()) == 1) {
						t.Errorf("far has %v", far.Allocated())
					}
				})
			})
		})
	}
}
