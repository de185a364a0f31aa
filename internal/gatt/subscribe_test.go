package gatt_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

func TestSubscribe(t *testing.T) {
	A := addrA.String()
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		from := len(p.Calls())
		for _, h := range []uint16{8, 11, 6, 8} { // 6 has no CCCD: enabled without a write
			if err := w.subscribe(addrA, h); err != nil {
				t.Errorf("Subscribe %d: %v", h, err)
			}
		}
		if err := w.subscribe(addrA, 77); !errors.Is(err, ble.ATTInvalidHandle) {
			t.Errorf("Subscribe to nothing: %v", err)
		}
		w.m.Unsubscribe(addrA, 8)
		w.m.Unsubscribe(addrA, 8)
		w.m.Unsubscribe(addrA, 99)
		settle(time.Second)
		want := []string{
			"notify " + A + " 8 true", "write-descriptor " + A + " 9 0100",
			"notify " + A + " 11 true", "write-descriptor " + A + " 12 0200",
			"notify " + A + " 6 true",
			"write-descriptor " + A + " 9 0000", "notify " + A + " 8 false",
		}
		if d := cmp.Diff(want, p.Calls()[from:]); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
		// What remains is armed again before Resolved.
		p.DropLink(addrA, 0x08)
		settle(time.Second)
		w.take()
		from = len(p.Calls())
		if err := w.connect(addrA, ""); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		p.SendNotification(addrA, 11, []byte("i"))
		p.SendNotification(addrA, 8, []byte("lost"))
		wantEvents(t, w, "up 247", "connected", "resolved 2 services, mtu 247", "notified 11 i")
		want = []string{"clear-cache " + A, "connect " + A, "services " + A,
			"notify " + A + " 11 true", "write-descriptor " + A + " 12 0200", "notify " + A + " 6 true"}
		if d := cmp.Diff(want, p.Calls()[from:]); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
	})
}

func TestSubscribeWithoutLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := gatttest.New("near", thermometer(addrA))
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			for _, h := range []uint16{8, 11, 50} { // 50 will not be there: logged, not fatal
				if err := w.subscribe(addrA, h); err != nil {
					t.Fatal(err)
				}
			}
			w.m.Unsubscribe(addrA, 11)
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
			p.SendNotification(addrA, 8, []byte("x"))
			p.SendNotification(addrA, 11, []byte("y"))
			wantEvents(t, w, "up 247", "connected", "resolved 2 services, mtu 247", "notified 8 x")
		})
	})
}

func TestPairOnDemand(t *testing.T) {
	A := addrA.String()
	tests := []struct {
		name   string
		flags  ble.Features
		noPair bool
		do     func(w *world) error
		want   error
		pairs  int
		events []string
	}{
		{"read", gatttest.AllFlags, false, func(w *world) error { _, err := w.read(addrA, 6); return err }, nil, 1, []string{"paired true"}},
		{"subscribe", gatttest.AllFlags, false, func(w *world) error { return w.subscribe(addrA, 8) }, nil, 1, []string{"paired true"}},
		{"write", gatttest.AllFlags, false, func(w *world) error {
			res := make(chan error, 1)
			w.Write(addrA, 14, []byte("v"), func(err error) { res <- err })
			return <-res
		}, nil, 1, []string{"paired true"}},
		{"twice refused, asked once", gatttest.AllFlags, true, func(w *world) error {
			_, _ = w.read(addrA, 6)
			_, err := w.read(addrA, 6)
			return err
		}, ble.ATTAuthentication, 1, nil},
		{"proxy without pairing", gatttest.AllFlags &^ ble.FeaturePairing, false,
			func(w *world) error { _, err := w.read(addrA, 6); return err }, ble.ATTAuthentication, 0, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				dev.Secure = map[uint16]bool{6: true, 9: true, 14: true}
				dev.NoPair = tc.noPair
				p := gatttest.New("near", dev)
				p.Flags = tc.flags
				run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.hears(addrA, "near")
					if err := w.connect(addrA, ""); err != nil {
						t.Fatal(err)
					}
					settle(time.Second)
					w.take()
					if err := tc.do(w); !errors.Is(err, tc.want) {
						t.Errorf("got %v, want %v", err, tc.want)
					}
					if n := p.Count("pair " + A); n != tc.pairs {
						t.Errorf("paired %d times, want %d", n, tc.pairs)
					}
					wantEvents(t, w, tc.events...)
				})
			})
		})
	}
}

func (w *world) pair() error {
	res := make(chan error, 1)
	w.m.Pair(addrA, func(err error) { res <- err })
	return <-res
}

func TestPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := thermometer(addrA)
		near, far := gatttest.New("near", dev), gatttest.New("far", dev)
		st := store{}
		run(t, gatt.Config{Store: newKeeper(st)}, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
			w.hears(addrA, "near", "far")
			if err := w.pair(); !errors.Is(err, ble.ErrNotConnected) {
				t.Errorf("Pair without a link: %v", err)
			}
			if err := w.connect(addrA, "far"); err != nil {
				t.Fatal(err)
			}
			var pe *ble.PairError
			dev.NoPair = true
			if err := w.pair(); !errors.As(err, &pe) || pe.Reason != 5 {
				t.Errorf("refused Pair: %v", err)
			}
			dev.NoPair = false
			far.Flags &^= ble.FeaturePairing
			if err := w.pair(); !errors.Is(err, ble.ErrNotSupported) {
				t.Errorf("Pair without the feature: %v", err)
			} else if d := cmp.Diff(err.Error(), "cannot pair AA:00:00:00:00:01: proxy far with ESPHome 2026.10.0 has no pairing: "+ble.ErrNotSupported.Error()); d != "" {
				t.Error(d)
			}
			far.Flags = gatttest.AllFlags
			var canceled error
			w.m.Pair(addrA, func(err error) { canceled = err })
			settle(100 * time.Millisecond)
			w.m.CancelConnect(addrA)
			synctest.Wait()
			if !errors.Is(canceled, ble.ErrCanceled) {
				t.Errorf("canceled Pair: %v", canceled)
			}
			if err := w.pair(); err != nil || st[addrA].Bonded != "far" {
				t.Errorf("Pair: %v, bond held by %q", err, st[addrA].Bonded)
			}
			// The holder of the bond is dialled although the other one hears better.
			w.disconnect(addrA)
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			if near.Count("connect "+addrA.String()) != 0 {
				t.Error("dialled through another proxy than the holder of the bond")
			}
			w.disconnect(addrA)
			far.GoOffline()
			w.m.Forget(addrA)
			settle(time.Second)
			far.GoOnline()
			settle(time.Second)
			if far.Count("unpair "+addrA.String()) != 1 || st[addrA].Bonded != "" {
				t.Error("not unpaired")
			}
			for _, e := range w.take() {
				if e == "paired true" {
					t.Error("the caller of Pair, or the answer to an unpair request, made for Paired")
				}
			}
		})
	})
}

func TestUnsolicitedPairing(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
		w.m.PairingReport("near", addrA, false)
		w.m.PairingReport("far", addrA, true)
		w.m.PairingReport("near", addrB, true)
		wantEvents(t, w)
		w.m.PairingReport("near", addrA, true)
		w.m.PairingReport("near", addrA, true)
		wantEvents(t, w, "paired true")
	})
}

func TestConnectionParams(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
		call := "params " + addrA.String() + " 6 12 0 400"
		for _, bad := range [][4]uint16{{5, 12, 0, 400}, {12, 6, 0, 400}, {6, 3201, 0, 3200}, {6, 12, 500, 3200}, {6, 12, 0, 9}, {6, 12, 0, 3201}, {6, 400, 9, 1000}} {
			if err := w.m.SetConnectionParams(t.Context(), addrA, ble.ConnectionParams{MinInterval: bad[0], MaxInterval: bad[1], Latency: bad[2], Timeout: bad[3]}); !errors.Is(err, ble.ErrInvalid) {
				t.Errorf("%v: %v", bad, err)
			}
		}
		if err := w.m.SetConnectionParams(t.Context(), addrA, ble.ConnectionParams{MinInterval: 6, MaxInterval: 12, Timeout: 400}); err != nil || p.Count(call) != 1 {
			t.Errorf("%v, %v", err, p.Calls())
		}
		p.Flags &^= ble.FeatureConnectionParams
		if err := w.m.SetConnectionParams(t.Context(), addrA, ble.ConnectionParams{MinInterval: 6, MaxInterval: 12, Timeout: 400}); err != nil || p.Count(call) != 1 {
			t.Errorf("without the feature: %v, %v", err, p.Calls())
		}
		if err := w.m.SetConnectionParams(t.Context(), addrB, ble.ConnectionParams{MinInterval: 6, MaxInterval: 12, Timeout: 400}); !errors.Is(err, ble.ErrNotConnected) {
			t.Errorf("without a link: %v", err)
		}
	})
}

// TestLostAnswers: firmware before 2026.8 loses answers on a congested network. What may be asked twice is, and nothing
// waits longer than 30 s.
func TestLostAnswers(t *testing.T) {
	A := addrA.String()
	for _, lost := range []string{"notify " + A + " 8 true", "write " + A + " 9"} {
		linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
			n, all := 0, false
			p.Lose = func(call string) bool {
				if call == lost {
					n++
				}
				return call == lost && (n == 1 || all)
			}
			if err := w.subscribe(addrA, 8); err != nil || n != 2 {
				t.Errorf("%s lost once: %v, asked %d times", lost, err, n)
			}
			w.m.Unsubscribe(addrA, 8)
			settle(time.Minute)
			all = true
			begun := time.Now()
			if err := w.subscribe(addrA, 8); !errors.Is(err, ble.ErrTimeout) || time.Since(begun) > 30*time.Second {
				t.Errorf("%s lost for good: %v after %v", lost, err, time.Since(begun))
			}
		})
	}
}

// TestStalledQueue: what waits behind an operation without an answer does not wait as long again.
func TestStalledQueue(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		p.Lose = func(call string) bool { return call == "write "+addrA.String()+" 6" }
		begun := time.Now()
		var ended []time.Duration
		done := make(chan error, 3) // one for each
		for range 2 {
			w.Write(addrA, 6, []byte("lost"), func(err error) { done <- err })
		}
		w.Read(addrA, 6, func(_ []byte, err error) { done <- err })
		w.WriteCommand(addrA, 3, []byte("command"), func(error) {})
		for range 3 {
			if err := <-done; !errors.Is(err, ble.ErrTimeout) {
				t.Errorf("got %v", err)
			}
			ended = append(ended, time.Since(begun))
		}
		if ended[2] > 31*time.Second {
			t.Errorf("ended after %v", ended)
		}
		settle(time.Second)
		if writes := dev.Writes(); len(writes) == 0 || writes[len(writes)-1].Value != "command" {
			t.Errorf("the command was not written: %v", writes)
		}
	})
}

// TestFirstValue: a value that comes right behind the answer to the CCCD's write follows the end of Subscribe, and is
// not lost.
func TestFirstValue(t *testing.T) {
	linked(t, gatt.Config{}, func(t *testing.T, w *world, p *gatttest.Proxy, _ *gatttest.Peripheral) {
		var order []string
		p.Lose = func(call string) bool { // at this moment the peripheral has the CCCD
			if call == "write "+addrA.String()+" 9" {
				p.SendNotification(addrA, 8, []byte("first"))
			}
			return false
		}
		w.m.Subscribe(addrA, 8, func(err error) { order = append(order, fmt.Sprint("subscribed ", err, len(w.take()))) })
		settle(time.Second)
		p.SendNotification(addrA, 8, []byte("second"))
		settle(time.Second)
		wantEvents(t, w, "notified 8 first", "notified 8 second")
		if d := cmp.Diff([]string{"subscribed <nil> 0"}, order); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}
