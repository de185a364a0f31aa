package gatt_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// command writes without response; nothing is told of it.
func (w *world) command(h uint16, v string) {
	w.m.Do(addrA, ble.Operation{Kind: ble.OpWriteCommand, Handle: h, Value: []byte(v)}, func(_ []byte, err error) {
		if err != nil {
			w.log("command %s: %v", v, err)
		}
	})
}

// TestAcceptedArrives: whatever ends a link, the commands that were accepted before are on the air, in order.
func TestAcceptedArrives(t *testing.T) {
	const n = 50
	for _, tc := range []struct {
		name  string
		end   func(w *world, p *gatttest.Proxy)
		takes time.Duration // one command
		want  int
		after time.Duration // until the link is down, at most
	}{
		{"Disconnect", func(w *world, _ *gatttest.Proxy) { w.disconnect(addrA) }, 10 * time.Millisecond, n, 600 * time.Millisecond},
		{"Disconnect twice", func(w *world, _ *gatttest.Proxy) {
			w.m.Disconnect(addrA, func() {})
			w.disconnect(addrA)
		}, 10 * time.Millisecond, n, 600 * time.Millisecond},
		{"too many for 2 s", func(w *world, _ *gatttest.Proxy) { w.disconnect(addrA) }, 100 * time.Millisecond, 19, 2100 * time.Millisecond},
		{"the daemon ends", func(w *world, _ *gatttest.Proxy) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			w.m.Close(ctx)
		}, 10 * time.Millisecond, n, 600 * time.Millisecond},
		{"the database changed", func(w *world, p *gatttest.Proxy) {
			p.SendNotification(addrA, 17, []byte{1, 0, 2, 0})
			settle(600 * time.Millisecond)
		}, 10 * time.Millisecond, n, 700 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := withGATT(thermometer(addrA), "")
				dev.CommandTime = tc.takes
				p := gatttest.New("near", dev)
				run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.hears(addrA, "near")
					if err := w.connect(addrA, ""); err != nil {
						t.Fatal(err)
					}
					settle(time.Second)
					for i := range n {
						w.command(14, fmt.Sprint(i))
					}
					start := time.Now()
					synctest.Wait()
					tc.end(w, p)
					if took := time.Since(start); took > tc.after {
						t.Errorf("took %v", took)
					}
					arrived := 0
					for _, wr := range dev.Writes() {
						if wr.Handle != 14 {
							continue
						}
						if wr.Value != fmt.Sprint(arrived) {
							t.Errorf("%q arrived as number %d", wr.Value, arrived)
						}
						arrived++
					}
					if arrived < tc.want || arrived > n {
						t.Errorf("%d arrived, want %d", arrived, tc.want)
					}
				})
			})
		})
	}
}

// TestDisconnectAnswers: what is under way and what waits gets its real answer; later calls are refused, and with
// nothing to wait for the link ends at once.
func TestDisconnectAnswers(t *testing.T) {
	both(t, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		dev.ReadDelay = 300 * time.Millisecond
		read := func(name string) {
			w.m.Do(addrA, ble.Operation{Kind: ble.OpRead, Handle: 6}, func(v []byte, err error) { w.log("%s %q %v", name, v, err) })
		}
		read("first")
		read("second")
		settle(100 * time.Millisecond)
		start := time.Now()
		w.m.Disconnect(addrA, func() { w.log("disconnected after %v", time.Since(start)) })
		read("late")
		settle(5 * time.Second)
		wantEvents(t, w, `late "" not connected`, `first "21.5" <nil>`, `second "21.5" <nil>`, "down 2", "disconnected after 500ms")
		if err := w.connect(addrA, ""); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		w.take()
		start = time.Now()
		w.disconnect(addrA)
		if took := time.Since(start); took != 0 {
			t.Errorf("with nothing to wait for it took %v", took)
		}
	})
}

// TestDisconnectAndPair: a pairing is not waited for.
func TestDisconnectAndPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatttest.New("near", thermometer(addrA))
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
			w.take()
			w.m.Pair(addrA, func(err error) { w.log("pair %v", err) })
			settle(100 * time.Millisecond)
			start := time.Now()
			w.disconnect(addrA)
			if took := time.Since(start); took > 10*time.Millisecond {
				t.Errorf("took %v", took)
			}
			wantEvents(t, w, "pair canceled", "down 2", "disconnected")
		})
	})
}

// TestDrainAndLoss: a link that goes meanwhile is over.
func TestDrainAndLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := thermometer(addrA)
		dev.CommandTime = time.Second
		p := gatttest.New("near", dev)
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
			w.take()
			w.command(14, "a")
			w.command(14, "b")
			start := time.Now()
			w.m.Disconnect(addrA, func() { w.log("disconnected after %v", time.Since(start)) })
			settle(500 * time.Millisecond)
			p.DropLink(addrA, 0x13)
			settle(5 * time.Second)
			wantEvents(t, w, "down 2", "disconnected after 500ms")
		})
	})
}

// TestDisconnectWithOneUnderWay: the link ends as soon as the only operation has its answer, whatever that is, not when
// bluetoothd's 2 s are over.
func TestDisconnectWithOneUnderWay(t *testing.T) {
	for _, tc := range []struct {
		name string
		op   ble.Operation
		set  func(p *gatttest.Proxy)
		want string
	}{
		{name: "read", op: ble.Operation{Kind: ble.OpRead, Handle: 6}, want: `"21.5" <nil>`},
		{name: "write", op: ble.Operation{Kind: ble.OpWrite, Handle: 14, Value: []byte("x")}, want: `"" <nil>`},
		{name: "refused write", op: ble.Operation{Kind: ble.OpWrite, Handle: 14, Value: []byte("x")},
			set: func(p *gatttest.Proxy) { p.SetRefused(addrA, 14, ble.ATTWriteNotPermitted) }, want: `"" ` + ble.ATTWriteNotPermitted.Error()},
		{name: "read without a value", op: ble.Operation{Kind: ble.OpRead, Handle: 14}, want: `"" ` + ble.ATTInvalidHandle.Error()},
		{name: "read of a descriptor", op: ble.Operation{Kind: ble.OpReadDescriptor, Handle: 6}, want: `"21.5" <nil>`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
				if tc.set != nil {
					tc.set(p)
				}
				p.SetReadDelay(addrA, 300*time.Millisecond)
				w.m.Do(addrA, tc.op, func(v []byte, err error) { w.log("%q %v", v, err) })
				settle(100 * time.Millisecond)
				start := time.Now()
				w.m.Disconnect(addrA, func() {
					if took := time.Since(start); took > 300*time.Millisecond {
						w.log("disconnected after %v", took)
					}
				})
				settle(5 * time.Second)
				wantEvents(t, w, tc.want, "down 2")
			})
		})
	}
}
