package gatt_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// moved is the thermometer with another characteristic at each handle: what 6 was is at 26.
func moved(a ble.Address) *gatttest.Peripheral {
	d := thermometer(a)
	d.Services[1].Characteristics[0].UUID = ble.UUID16(0xfffa)
	d.Services[1].Characteristics[1].UUID = ble.UUID16(0xfffb)
	d.Services[1].Characteristics[3].UUID = ble.UUID16(0xfffc)
	return d
}

// become gives dev the services of another image.
func become(dev, other *gatttest.Peripheral) {
	dev.Services = other.Services
}

// TestEvidence: a cached database is used only where something speaks for it.
func TestEvidence(t *testing.T) {
	A := addrA.String()
	said := struct {
		name     string
		services []ble.UUID
	}{"Lamp", []ble.UUID{ble.UUID16(0xff00)}}
	for _, tc := range []struct {
		name   string
		hash   string
		bonded bool
		change func(w *world, near *gatttest.Proxy, dev *gatttest.Peripheral)
		say    string
		offer  ble.UUID
		cached bool
	}{
		{name: "nothing changed, nothing known"},
		{name: "the same hash", hash: "h1", cached: true},
		{name: "the same hash, another name", hash: "h1", say: "OTA"},
		{name: "the same hash, the end of the name is cut off", hash: "h1", say: "Lam", cached: true},
		{name: "an empty hash", hash: "h1", change: func(_ *world, _ *gatttest.Proxy, dev *gatttest.Peripheral) { dev.Values[20] = nil }},
		{name: "a bond with Service Changed", bonded: true, cached: true},
		{name: "a bond, another name", bonded: true, say: "OTA"},
		{name: "a bond, another service", bonded: true, offer: ble.UUID16(0xfe59)},
		{name: "a bond, a service that it has", bonded: true, offer: ble.UUID16(0xfff0), cached: true},
		{name: "a bond that was dropped", bonded: true, change: func(w *world, _ *gatttest.Proxy, _ *gatttest.Peripheral) {
			if err := w.m.Unpair(context.Background(), addrA, ""); err != nil {
				t.Error(err)
			}
		}},
		{name: "a bond, Service Changed has moved", bonded: true, change: func(_ *world, _ *gatttest.Proxy, dev *gatttest.Peripheral) {
			dev.Refused = map[uint16]ble.ATTError{18: ble.ATTInvalidHandle}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := withGATT(thermometer(addrA), tc.hash)
				p := gatttest.New("near", dev)
				said := said
				cfg := gatt.Config{
					Name:     func(ble.Address) string { return said.name },
					Expected: func(ble.Address) []ble.UUID { return slices.Clone(said.services) },
				}
				run(t, cfg, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.hears(addrA, "near")
					for range 2 {
						if err := w.connect(addrA, ""); err != nil {
							t.Fatal(err)
						}
						settle(time.Second)
						if tc.bonded {
							if err := w.pair(); err != nil {
								t.Fatal(err)
							}
						}
						w.disconnect(addrA)
						settle(time.Second)
					}
					if tc.change != nil {
						tc.change(w, p, dev)
					}
					if tc.say != "" {
						said.name = tc.say
					}
					if tc.offer != (ble.UUID{}) {
						said.services = append(slices.Clone(said.services), tc.offer)
					}
					before := len(p.Calls())
					if err := w.connect(addrA, ""); err != nil {
						t.Fatal(err)
					}
					settle(5 * time.Second)
					calls := p.Calls()[before:]
					listed := slices.Contains(calls, "services "+A)
					if listed == tc.cached {
						t.Errorf("calls %q, want cached %v", calls, tc.cached)
					}
					if i := slices.Index(calls, "connect "+A); listed && (i < 1 || calls[i-1] != "clear-cache "+A) {
						t.Errorf("calls %q: the proxy's own cache was not cleared before", calls)
					}
				})
			})
		})
	}
}

// TestEvidenceOutlivesShortLinks: a link that ends while it is being looked whether the bond's Service Changed is where
// it was says nothing of the database. The next one is made with the cache as if it had not been.
func TestEvidenceOutlivesShortLinks(t *testing.T) {
	A := addrA.String()
	for _, tc := range []struct {
		name string
		end  func(w *world, p *gatttest.Proxy)
	}{
		{"Disconnect", func(w *world, _ *gatttest.Proxy) { w.disconnect(addrA) }},
		{"the device leaves", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x13) }},
		{"out of range", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x08) }},
		{"the proxy goes", func(_ *world, p *gatttest.Proxy) { p.GoOffline(); settle(time.Second); p.GoOnline() }},
	} {
		for _, at := range []time.Duration{0, 5 * time.Millisecond, 15 * time.Millisecond, 25 * time.Millisecond} {
			t.Run(fmt.Sprint(tc.name, " after ", at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := gatttest.New("near", withGATT(thermometer(addrA), ""))
					run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
						w.hears(addrA, "near")
						for range 2 {
							if err := w.connect(addrA, ""); err != nil {
								t.Fatal(err)
							}
							settle(time.Second)
							if err := w.pair(); err != nil {
								t.Fatal(err)
							}
							w.disconnect(addrA)
							settle(time.Second)
						}
						before := len(p.Calls())
						if err := w.connect(addrA, ""); err != nil {
							t.Fatal(err)
						}
						time.Sleep(at)
						tc.end(w, p)
						settle(time.Second)
						if err := w.connect(addrA, ""); err != nil {
							t.Fatal(err)
						}
						settle(5 * time.Second)
						if calls := p.Calls()[before:]; slices.Contains(calls, "connect "+A) || slices.Contains(calls, "services "+A) {
							t.Errorf("calls %q: the cache is not used", calls)
						}
					})
				})
			})
		}
	}
}

// TestMomentsAgo: a link that was lost because its proxy went needs no new list, if the device is heard.
func TestMomentsAgo(t *testing.T) {
	for _, tc := range []struct {
		name   string
		lose   func(w *world, near *gatttest.Proxy)
		after  time.Duration
		heard  []string
		cached bool
	}{
		{"the proxy went", func(_ *world, p *gatttest.Proxy) { p.GoOffline() }, time.Second, []string{"far"}, true},
		{"the proxy went, longer ago than it takes to boot", func(_ *world, p *gatttest.Proxy) { p.GoOffline() }, 1100 * time.Millisecond, []string{"far"}, false},
		{"the proxy went long ago", func(_ *world, p *gatttest.Proxy) { p.GoOffline() }, 4 * time.Second, []string{"far"}, false},
		{"the proxy was dead before that was noticed", func(w *world, p *gatttest.Proxy) {
			settle(time.Second)
			w.hears(addrA, "far") // it is not connected any more
			settle(5 * time.Second)
			p.GoOffline()
		}, 100 * time.Millisecond, []string{"far"}, false},
		{"the device ended it", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x13) }, 100 * time.Millisecond, []string{"far"}, false},
		{"the device fell silent", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x08) }, 100 * time.Millisecond, []string{"far"}, false},
		{"on request", func(w *world, _ *gatttest.Proxy) { w.disconnect(addrA) }, 100 * time.Millisecond, []string{"far"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				near, far := gatttest.New("near", dev), gatttest.New("far", dev)
				run(t, gatt.Config{}, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
					w.hears(addrA, "far", "near")
					for _, via := range []string{"far", "near"} { // so that far's MTU is known
						if err := w.connect(addrA, via); err != nil {
							t.Fatal(err)
						}
						was := time.Now()
						settle(time.Second)
						if via == "far" {
							w.disconnect(addrA)
						} else { // it is not heard while it is connected
							w.air.set(addrA, gatt.Path{Proxy: "far", RSSI: -50, LastHeard: was}, gatt.Path{Proxy: "near", RSSI: -60, LastHeard: was})
						}
					}
					tc.lose(w, near)
					settle(tc.after)
					w.hears(addrA, tc.heard...)
					if err := w.connect(addrA, "far"); err != nil {
						t.Fatal(err)
					}
					settle(time.Second)
					if cached := far.Count("connect-cached "+addrA.String()) == 1; cached != tc.cached {
						t.Errorf("cached %v, want %v", cached, tc.cached)
					}
				})
			})
		})
	}
}

// TestAnotherImage: the inputs of two reports. A device without Database Hash that comes back with other services has
// those, at the first connection, in this run and in the next.
func TestAnotherImage(t *testing.T) {
	for _, tc := range []struct {
		name  string
		other func() *gatttest.Peripheral
		want  ble.UUID
	}{
		{"another service beside the old", func() *gatttest.Peripheral {
			d := thermometer(addrA)
			d.Services = append(d.Services, ble.Service{Handle: 0x40, UUID: ble.UUID16(0xfff9)})
			return d
		}, ble.UUID16(0xfff9)},
		{"a boot loader", func() *gatttest.Peripheral {
			d := thermometer(addrA)
			d.Services = []ble.Service{{Handle: 1, UUID: ble.UUID16(0xfe59)}}
			return d
		}, ble.UUID16(0xfe59)},
		{"a service is gone", func() *gatttest.Peripheral {
			d := thermometer(addrA)
			d.Services = d.Services[:1]
			return d
		}, ble.UUID16(0x1800)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				st := store{}
				for again := range 3 {
					p := gatttest.New("near", dev)
					run(t, gatt.Config{Store: st}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
						w.hears(addrA, "near")
						for range 2 {
							if err := w.connect(addrA, ""); err != nil {
								t.Fatal(err)
							}
							settle(3 * time.Second)
							db := w.dbs[len(w.dbs)-1]
							if n := len(dev.Services); len(db.Services) != n || again > 0 && db.Services[n-1].UUID != tc.want {
								t.Errorf("%d services, last %v; want %d, last %v", len(db.Services), db.Services[len(db.Services)-1].UUID, n, tc.want)
							}
							w.disconnect(addrA)
						}
					})
					become(dev, tc.other())
				}
			})
		})
	}
}

// TestOldHandles: what was asked for by handles of a database that changed meanwhile is not done on what has that
// handle now.
func TestOldHandles(t *testing.T) {
	type step func(w *world, p *gatttest.Proxy, dev *gatttest.Peripheral)
	for _, tc := range []struct {
		name string
		ask  step
		want []string // what was told
	}{
		{"a read behind the change", func(w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
			p.SendNotification(addrA, 17, []byte{4, 0, 14, 0})
			w.m.Do(addrA, ble.Operation{Kind: ble.OpRead, Handle: 6}, func(v []byte, err error) { w.log("read %q %v", v, err) })
		}, []string{"changed 3 services", `read "" no characteristic has that value handle: ATT error 0x01`}},
		{"a read under way", func(w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
			w.m.Do(addrA, ble.Operation{Kind: ble.OpRead, Handle: 6}, func(v []byte, err error) { w.log("read %q %v", v, err) })
			settle(10 * time.Millisecond)
			p.SendNotification(addrA, 17, []byte{4, 0, 14, 0})
		}, []string{"changed 3 services", `read "" no characteristic has that value handle: ATT error 0x01`}},
		{"a read of what did not change", func(w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
			p.SendNotification(addrA, 17, []byte{4, 0, 14, 0})
			w.m.Do(addrA, ble.Operation{Kind: ble.OpRead, Handle: 3}, func(v []byte, err error) { w.log("read %q %v", v, err) })
		}, []string{"changed 3 services", `read "Thermo" <nil>`}},
		{"a write", func(w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
			p.SendNotification(addrA, 17, []byte{4, 0, 14, 0})
			w.m.Do(addrA, ble.Operation{Kind: ble.OpWrite, Handle: 14, Value: []byte("w")}, func(_ []byte, err error) { w.log("write %v", err) })
		}, []string{"changed 3 services", "write no characteristic has that value handle: ATT error 0x01"}},
		{"a command", func(w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
			p.SendNotification(addrA, 17, []byte{4, 0, 14, 0})
			w.m.Do(addrA, ble.Operation{Kind: ble.OpWriteCommand, Handle: 14, Value: []byte("w")}, func(_ []byte, err error) { w.log("write %v", err) })
		}, []string{"changed 3 services", "write no characteristic has that value handle: ATT error 0x01"}},
		{"a caller that has yet to hear of the change", func(w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
			p.SendNotification(addrA, 17, []byte{4, 0, 14, 0})
			settle(5 * time.Second)
			old := &ble.Database{Services: withGATT(thermometer(addrA), "").Services}
			for _, op := range []ble.Operation{
				{Kind: ble.OpWrite, Handle: 14, Value: []byte("w"), Table: old}, {Kind: ble.OpWriteCommand, Handle: 14, Value: []byte("w"), Table: old},
				{Kind: ble.OpRead, Handle: 6, Table: old}, {Kind: ble.OpRead, Handle: 3, Table: old},
			} {
				w.m.Do(addrA, op, func(v []byte, err error) { w.log("%d: %q %v", op.Kind, v, err) })
			}
		}, []string{"changed 3 services", fmt.Sprintf("%d: \"\" no characteristic has that value handle: ATT error 0x01", ble.OpWrite),
			fmt.Sprintf("%d: \"\" no characteristic has that value handle: ATT error 0x01", ble.OpWriteCommand),
			fmt.Sprintf("%d: \"\" no characteristic has that value handle: ATT error 0x01", ble.OpRead), fmt.Sprintf("%d: \"Thermo\" <nil>", ble.OpRead)}},
		{"a notification by an old handle", func(_ *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
			p.SendNotification(addrA, 8, []byte("before"))
			p.SendNotification(addrA, 17, []byte{4, 0, 14, 0})
			p.SendNotification(addrA, 8, []byte("after"))
			settle(5 * time.Second)
			p.SendNotification(addrA, 8, []byte("later"))
		}, []string{"notified 8 before", "changed 3 services"}},
		{"a notification of what did not change", func(_ *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
			p.SendNotification(addrA, 17, []byte{30, 0, 40, 0})
			p.SendNotification(addrA, 8, []byte("after"))
		}, []string{"notified 8 after", "changed 3 services"}},
		{"the peripheral says that its client is unaware", func(w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
			p.OutOfSync(addrA)
			w.m.Do(addrA, ble.Operation{Kind: ble.OpRead, Handle: 6}, func(v []byte, err error) { w.log("read %q %v", v, err) })
		}, []string{"changed 3 services", `read "" no characteristic has that value handle: ATT error 0x01`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := withGATT(thermometer(addrA), "")
				dev.ReadDelay = 50 * time.Millisecond
				p := gatttest.New("near", dev)
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
					become(dev, withGATT(moved(addrA), ""))
					tc.ask(w, p, dev)
					settle(10 * time.Second)
					wantEvents(t, w, tc.want...)
					for _, wr := range dev.Writes() {
						if wr.Handle == 14 {
							t.Errorf("wrote %q to another characteristic", wr.Value)
						}
					}
				})
			})
		})
	}
}

// TestSubscriptionsOfAnotherImage: what is remembered over the loss of a link is not armed on another characteristic.
func TestSubscriptionsOfAnotherImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := thermometer(addrA)
		p := gatttest.New("near", dev)
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
			for _, h := range []uint16{8, 11} {
				if err := w.subscribe(addrA, h); err != nil {
					t.Fatal(err)
				}
			}
			p.DropLink(addrA, 0x08)
			become(dev, moved(addrA)) // 8 is another one, 11 is as it was
			settle(time.Second)
			w.take()
			before := len(p.Calls())
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
			w.take()
			var armed []string
			for _, c := range p.Calls()[before:] {
				if strings.HasPrefix(c, "notify ") {
					armed = append(armed, c)
				}
			}
			if want := []string{"notify " + addrA.String() + " 11 true"}; !slices.Equal(armed, want) {
				t.Errorf("armed %q, want %q", armed, want)
			}
			p.SendNotification(addrA, 11, []byte("x"))
			wantEvents(t, w, "notified 11 x")
		})
	})
}

// TestSameHash: Service Changed of a device whose Database Hash is as it was costs no link.
func TestSameHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatttest.New("near", withGATT(thermometer(addrA), "hash"))
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
			w.take()
			p.SendNotification(addrA, 17, []byte{1, 0, 255, 255})
			settle(time.Second)
			if v, err := w.read(addrA, 6); v != "21.5" || err != nil {
				t.Errorf("Read = %q, %v", v, err)
			}
			wantEvents(t, w)
			if n := p.Count("disconnect " + addrA.String()); n != 0 {
				t.Errorf("disconnected %d times", n)
			}
		})
	})
}

// TestAfterwards: nobody waits for Service Changed and the Database Hash: the services are told before either, and a
// disconnection does not wait for them.
func TestAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := withGATT(thermometer(addrA), "hash")
		dev.ReadDelay = time.Second
		p := gatttest.New("near", dev)
		st := store{}
		run(t, gatt.Config{Store: st}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			start := time.Now()
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(60 * time.Millisecond)
			wantEvents(t, w, "up 247", "connected", "resolved 3 services, mtu 247")
			if took := time.Since(start); took > 200*time.Millisecond {
				t.Errorf("the services took %v", took)
			}
			settle(300 * time.Millisecond) // the hash is being read
			start = time.Now()
			w.disconnect(addrA)
			if took := time.Since(start); took > 0 {
				t.Errorf("Disconnect took %v", took)
			}
			if len(st[addrA].Hash) != 0 {
				t.Error("a hash that was not read is kept")
			}
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(3 * time.Second)
			if string(st[addrA].Hash) != "hash" {
				t.Errorf("hash %q", st[addrA].Hash)
			}
		})
	})
}
