package gatt_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// linked runs f with a link to a thermometer through the one proxy "near".
func linked(t *testing.T, cfg gatt.Config, f func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		dev := thermometer(addrA)
		p := gatttest.New("near", dev)
		run(t, cfg, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
			w.take()
			f(t, w, p, dev)
		})
	})
}

func wantEvents(t *testing.T, w *world, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, w.take()); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

func TestLinkEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(w *world, p *gatttest.Proxy)
		want []string
	}{
		{"supervision timeout", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x08) }, []string{"down 1"}},
		{"local host", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x16) }, []string{"down 2"}},
		{"peripheral", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x13) }, []string{"down 3"}},
		{"authentication", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x05) }, []string{"down 4"}},
		{"MIC failure", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x3d) }, []string{"down 4"}},
		{"anything else", func(_ *world, p *gatttest.Proxy) { p.DropLink(addrA, 0x85) }, []string{"down 0"}},
		{"two reports", func(_ *world, p *gatttest.Proxy) { p.DoubleReport = true; p.DropLink(addrA, 0x13) }, []string{"down 3"}},
		{"proxy offline", func(_ *world, p *gatttest.Proxy) { p.GoOffline() }, []string{"down 0"}},
		{"proxy removed", func(w *world, p *gatttest.Proxy) { w.m.RemoveProxy("near") }, []string{"down 0"}},
		{"not in the list of slots", func(_ *world, p *gatttest.Proxy) { p.Vacate(addrA) }, []string{"down 0"}},
		{"Disconnect", func(w *world, _ *gatttest.Proxy) { w.disconnect(addrA) }, []string{"down 2", "disconnected"}},
		{"report for another device", func(w *world, _ *gatttest.Proxy) { w.m.LinkReport("near", addrB, false, 0, 8) }, nil},
		{"report of another proxy", func(w *world, _ *gatttest.Proxy) { w.m.LinkReport("far", addrA, false, 0, 8) }, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
				tc.end(w, p)
				settle(10 * time.Second)
				wantEvents(t, w, tc.want...)
				if _, err := w.read(addrA, 6); len(tc.want) > 0 && !errors.Is(err, ble.ErrNotConnected) {
					t.Errorf("Read without a link: %v", err)
				}
			})
		})
	}
}

// The second report of a disconnect must not end the next link.
func TestReconnectWaitsForTheSlot(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
		p.DoubleReport = true
		for range 50 {
			w.disconnect(addrA)
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
			wantEvents(t, w, "down 2", "disconnected", "up 247", "connected", "resolved 2 services, mtu 247")
		}
	})
}

func TestOperationsKeepOrder(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		dev.ReadDelay = time.Second
		var want []gatttest.Write
		var ends []string
		note := func(s string) func(error) {
			return func(err error) { ends = append(ends, fmt.Sprint(s, " ", err)) } // one goroutine at a time
		}
		w.Read(addrA, 6, func(_ []byte, err error) { note("read")(err) })
		for i := range 500 {
			v := []byte(fmt.Sprint(i))
			response := i%7 == 0
			want = append(want, gatttest.Write{Handle: 14, Value: string(v), Response: response})
			if response {
				w.Write(addrA, 14, v, note(string(v)))
			} else {
				w.WriteCommand(addrA, 14, v, note(string(v)))
			}
		}
		settle(500 * time.Millisecond)
		if len(dev.Writes()) != 0 {
			t.Error("a write overtook a read")
		}
		settle(10 * time.Second)
		if d := cmp.Diff(want, dev.Writes()); d != "" {
			t.Error(d)
		}
		if len(ends) != 501 || ends[0] != "read <nil>" || ends[500] != "499 <nil>" {
			t.Errorf("%d ends", len(ends))
		}
	})
}

func TestOperationErrors(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
		if v, err := w.read(addrA, 6); v != "21.5" || err != nil {
			t.Errorf("Read = %q, %v", v, err)
		}
		if v, err := w.read(addrA, 99); v != "" || !errors.Is(err, ble.ATTInvalidHandle) {
			t.Errorf("Read of no attribute = %q, %v", v, err)
		}
		if _, err := w.read(addrB, 6); !errors.Is(err, ble.ErrNotConnected) {
			t.Errorf("Read of no device: %v", err)
		}
		var full error
		w.WriteCommand(addrA, 14, make([]byte, 9<<20), func(err error) { full = err })
		synctest.Wait()
		if !errors.Is(full, gatt.ErrQueueFull) {
			t.Errorf("9 MiB: %v", full)
		}
	})
}

// Notifications do not wait for a read, and Disconnect not for long (bluetoothd 5.87: 2 s).
func TestSlowRead(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		if err := w.subscribe(addrA, 8); err != nil {
			t.Fatal(err)
		}
		dev.ReadDelay = 20 * time.Second
		for range 2 {
			w.Read(addrA, 6, func(_ []byte, err error) { w.log("read %v", err) })
		}
		settle(time.Second)
		start := time.Now()
		p.SendNotification(addrA, 8, []byte("x"))
		wantEvents(t, w, "notified 8 x")
		w.disconnect(addrA)
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("Disconnect took %v", d)
		}
		got := w.take()
		slices.Sort(got[:2])
		if d := cmp.Diff([]string{"read not connected", "read not connected", "down 2", "disconnected"}, got); d != "" {
			t.Error(d)
		}
	})
}

func TestNotificationsInOrder(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
		if err := w.subscribe(addrA, 8); err != nil {
			t.Fatal(err)
		}
		var want []string
		buf := make([]byte, 0, 8)
		for i := range 10000 {
			buf = fmt.Append(buf[:0], i) // the caller may use its buffer again
			p.SendNotification(addrA, 8, buf)
			want = append(want, fmt.Sprintf("notified 8 %d", i))
		}
		wantEvents(t, w, want...)
	})
}

func TestCanceledConnect(t *testing.T) {
	tests := []struct {
		name string
		call func(w *world)
	}{
		{"CancelConnect", func(w *world) { w.m.CancelConnect(addrA) }},
		{"Disconnect", func(w *world) { w.m.Disconnect(addrA, func() {}) }},
		{"Close", func(w *world) { w.m.Close(context.Background()) }},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				p := gatttest.New("near", dev)
				p.DisconnectDelay = time.Second
				p.Script = always(gatttest.Outcome{Hang: true})
				run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.hears(addrA, "near")
					var at time.Time
					start := time.Now()
					w.m.Connect(addrA, ble.Public, "", func(err error) {
						at = time.Now()
						w.log("%v", err)
					})
					settle(time.Second)
					tc.call(w)
					settle(0)
					if d := at.Sub(start); d != time.Second {
						t.Errorf("done after %v", d)
					}
					settle(2 * time.Second)
					wantEvents(t, w, "canceled")
					if len(p.Allocated()) != 0 || p.Count("disconnect "+addrA.String()) != 1 {
						t.Errorf("slot leaked: %v, %v", p.Allocated(), p.Calls())
					}
				})
			})
		})
	}
}

// A Connect that follows upon one that was called off waits for the end of that.
func TestConnectAfterCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := thermometer(addrA)
		p, q := gatttest.New("near", dev), gatttest.New("far", dev)
		p.DisconnectDelay = time.Second
		p.Script = func(_ ble.Address, n int) gatttest.Outcome { return gatttest.Outcome{Hang: n == 0} }
		run(t, gatt.Config{}, []*gatttest.Proxy{p, q}, func(t *testing.T, w *world) {
			w.hears(addrA, "near", "far")
			w.m.Connect(addrA, ble.Public, "", func(error) {})
			settle(time.Second)
			w.m.CancelConnect(addrA)
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			if n := dev.MostAtOnce(); n != 1 {
				t.Errorf("%d at once", n)
			}
		})
	})
}

func TestClose(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		dev.ReadDelay = time.Minute
		w.Read(addrA, 6, func(_ []byte, err error) { w.log("read %v", err) })
		synctest.Wait()
		p.DisconnectDelay = time.Hour // never answers
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		start := time.Now()
		w.m.Close(ctx)
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("Close took %v", d)
		}
		wantEvents(t, w, "read not connected", "down 2")
		if err := w.connect(addrA, ""); !errors.Is(err, ble.ErrCanceled) {
			t.Errorf("Connect after Close: %v", err)
		}
	})
}

func TestThousandCycles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := thermometer(addrA)
		var proxies []*gatttest.Proxy
		var names []string
		for i := range 4 {
			p := gatttest.New(fmt.Sprintf("p%d", i), dev)
			p.DoubleReport = i%2 == 0
			proxies = append(proxies, p)
			names = append(names, p.Name())
		}
		run(t, gatt.Config{}, proxies, func(t *testing.T, w *world) {
			for i := range 1000 {
				w.hears(addrA, names[i%4], names[(i+1)%4])
				if err := w.connect(addrA, ""); err != nil {
					t.Fatal(i, err)
				}
				w.disconnect(addrA)
			}
			settle(10 * time.Second)
			for _, p := range proxies {
				if len(p.Allocated()) != 0 {
					t.Errorf("%s holds %v", p.Name(), p.Allocated())
				}
			}
			if dev.MostAtOnce() != 1 {
				t.Error("two links at once")
			}
		})
	})
}

// 60 devices share 4 proxies with 3 slots each: nobody is refused who waits long enough.
func TestManyDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var devs []*gatttest.Peripheral
		for i := range 60 {
			devs = append(devs, thermometer(addrA+ble.Address(i)))
		}
		var proxies []*gatttest.Proxy
		var names []string
		for i := range 4 {
			p := gatttest.New(fmt.Sprintf("p%d", i), devs...)
			proxies = append(proxies, p)
			names = append(names, p.Name())
		}
		run(t, gatt.Config{SlotWait: 15 * time.Second}, proxies, func(t *testing.T, w *world) {
			ok := 0
			for i, d := range devs {
				w.hears(d.Address, names[i%4], names[(i+1)%4], names[(i+2)%4], names[(i+3)%4])
				w.m.Connect(d.Address, ble.Public, "", func(err error) {
					if err != nil {
						t.Errorf("%s: %v", d.Address, err)
						return
					}
					ok++
					time.AfterFunc(2*time.Second, func() { w.m.Disconnect(d.Address, func() {}) })
				})
			}
			settle(time.Minute)
			if ok != 60 {
				t.Errorf("%d of 60 connected", ok)
			}
			for _, p := range proxies {
				for _, d := range devs {
					if d.MostAtOnce() != 1 {
						t.Errorf("%s had %d links at once", d.Address, d.MostAtOnce())
					}
				}
				if len(p.Allocated()) != 0 {
					t.Errorf("%s holds %v", p.Name(), p.Allocated())
				}
			}
		})
	})
}

func TestDescriptors(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		dev.Values[9] = []byte("d")
		w.ReadDescriptor(addrA, 9, func(v []byte, err error) { w.log("%s %v", v, err) })
		w.WriteDescriptor(addrA, 9, []byte("e"), func(err error) { w.log("%v", err) })
		settle(time.Second)
		wantEvents(t, w, "d <nil>", "<nil>")
		if d := cmp.Diff([]gatttest.Write{{Handle: 9, Value: "e", Response: true}}, dev.Writes()); d != "" {
			t.Error(d)
		}
	})
}

// A link that the proxy does not know is over, though nobody reported it.
func TestPhantomLink(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
		p.LoseSilently(addrA)
		if _, err := w.read(addrA, 6); !errors.Is(err, ble.ErrNotConnected) {
			t.Errorf("Read: %v", err)
		}
		settle(10 * time.Second)
		wantEvents(t, w, "down 0")
		if err := w.connect(addrA, ""); err != nil {
			t.Error(err)
		}
	})
}

// Disconnect and Connect while a link is being taken down.
func TestDisconnectTwiceThenConnect(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
		p.DisconnectDelay = time.Second
		for range 2 {
			w.m.Disconnect(addrA, func() { w.log("disconnected") })
		}
		if _, err := w.read(addrA, 6); !errors.Is(err, ble.ErrNotConnected) {
			t.Errorf("Read while disconnecting: %v", err)
		}
		if err := w.connect(addrA, ""); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		wantEvents(t, w, "down 2", "disconnected", "disconnected", "up 247", "connected", "resolved 2 services, mtu 247")
	})
}

// A second Connect joins the first one, and of a link that is up it succeeds at once.
func TestConnectTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatttest.New("near", thermometer(addrA))
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			for range 3 {
				w.m.Connect(addrA, ble.Public, "", func(err error) { w.log("first %v", err) })
				w.m.Connect(addrA, ble.Public, "", func(err error) { w.log("second %v", err) })
				settle(time.Second)
				w.m.Connect(addrA, ble.Public, "", func(err error) { w.log("third %v", err) })
				wantEvents(t, w, "up 247", "first <nil>", "second <nil>", "resolved 2 services, mtu 247", "third <nil>")
				w.disconnect(addrA)
				w.take()
			}
		})
	})
}

// Devices do not wait for one another.
func TestDevicesAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := thermometer(addrA), thermometer(addrB)
		p := gatttest.New("near", a, b)
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			for _, addr := range []ble.Address{addrA, addrB} {
				w.hears(addr, "near")
				if err := w.connect(addr, ""); err != nil {
					t.Fatal(err)
				}
			}
			settle(time.Second)
			a.ReadDelay = time.Hour
			w.Read(addrA, 6, func([]byte, error) {})
			start := time.Now()
			if _, err := w.read(addrB, 6); err != nil || time.Since(start) > 0 {
				t.Errorf("read took %v: %v", time.Since(start), err)
			}
		})
	})
}

// Who waits longest for a slot gets it.
func TestSlotsInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var devs []*gatttest.Peripheral
		for i := range 10 {
			devs = append(devs, thermometer(addrA+ble.Address(i)))
		}
		p := gatttest.New("near", devs...)
		p.Limit = 1
		run(t, gatt.Config{SlotWait: 19 * time.Second}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			var want []string
			for i, d := range devs {
				w.hears(d.Address, "near")
				want = append(want, fmt.Sprint(i, " <nil>"))
				w.m.Connect(d.Address, ble.Public, "", func(err error) {
					w.mu.Lock()
					w.events = append(w.events, fmt.Sprint(i, " ", err))
					w.mu.Unlock()
					time.AfterFunc(time.Second, func() { w.m.Disconnect(d.Address, func() {}) })
				})
				settle(time.Millisecond)
			}
			settle(30 * time.Second)
			got := slices.DeleteFunc(w.take(), func(e string) bool { return e[0] < '0' || e[0] > '9' })
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	})
}
