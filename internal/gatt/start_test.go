package gatt_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// both runs f with a proxy that begins reads and writes by itself and with one that does not.
func both(t *testing.T, f func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral)) {
	t.Helper()
	for _, no := range []bool{false, true} {
		t.Run(fmt.Sprint("NoStart=", no), func(t *testing.T) {
			linked(t, gatt.Config{MayPair: func(ble.Address) bool { return true }},
				func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
					p.NoStart = no
					f(t, w, p, dev)
					if begun := p.Started() > 0; begun == no {
						t.Errorf("%d operations were begun without the session", p.Started())
					}
				})
		})
	}
}

// Operations run one at a time in the order of the calls, whoever runs them.
func TestStartKeepsOrder(t *testing.T) {
	both(t, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		for range 3 {
			dev.ReadDelay = time.Second
			w.Read(addrA, 6, func(_ []byte, err error) { w.log("read %v", err) })
			w.Write(addrA, 14, []byte("a"), func(err error) { w.log("write %v", err) })
			w.WriteCommand(addrA, 14, []byte("b"), func(err error) { w.log("command %v", err) })
			w.Read(addrA, 6, func(_ []byte, err error) { w.log("read %v", err) })
			settle(500 * time.Millisecond)
			if n := len(dev.Writes()); n%2 != 0 || len(w.take()) != 0 {
				t.Error("a write overtook a read")
			}
			settle(5 * time.Second)
			wantEvents(t, w, "read <nil>", "write <nil>", "command <nil>", "read <nil>")
		}
		if n := len(dev.Writes()); n != 6 {
			t.Errorf("%d writes", n)
		}
	})
}

// What the link's security or the database has to do with stays the session's affair.
func TestStartErrors(t *testing.T) {
	both(t, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		dev.Secure = map[uint16]bool{6: true}
		if v, err := w.read(addrA, 6); v != "21.5" || err != nil {
			t.Errorf("Read of a secured attribute = %q, %v", v, err)
		}
		if _, err := w.read(addrA, 99); !errors.Is(err, ble.ATTInvalidHandle) {
			t.Errorf("Read of no attribute: %v", err)
		}
		if v, err := w.read(addrA, 6); v != "21.5" || err != nil {
			t.Errorf("Read = %q, %v", v, err)
		}
	})
}

// An answer that does not come fails the operations that wait behind it.
func TestStartTimesOut(t *testing.T) {
	both(t, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		lost := 0
		p.Lose = func(string) bool { // one call at a time
			lost++
			return lost == 1
		}
		for range 3 {
			w.Write(addrA, 14, []byte("a"), func(err error) { w.log("write %v", errors.Is(err, ble.ErrTimeout)) })
		}
		w.WriteCommand(addrA, 14, []byte("b"), func(err error) { w.log("command %v", err) })
		settle(time.Minute)
		wantEvents(t, w, "write true", "write true", "write true", "command <nil>")
	})
}

// The end of the link ends what is under way, and once.
func TestStartAndLinkLoss(t *testing.T) {
	both(t, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		dev.ReadDelay = 20 * time.Second
		for range 2 {
			w.Read(addrA, 6, func(_ []byte, err error) { w.log("read %v", err) })
		}
		settle(time.Second)
		p.DropLink(addrA, 0x13)
		settle(time.Minute)
		wantEvents(t, w, "read not connected", "read not connected", "down 3")
	})
}

// A disconnection does not wait for long for what is under way (bluetoothd 5.87: 2 s).
func TestStartAndDisconnect(t *testing.T) {
	both(t, func(t *testing.T, w *world, p *gatttest.Proxy, dev *gatttest.Peripheral) {
		dev.ReadDelay = 20 * time.Second
		w.Read(addrA, 6, func(_ []byte, err error) { w.log("read %v", err) })
		settle(time.Second)
		start := time.Now()
		w.disconnect(addrA)
		synctest.Wait()
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("Disconnect took %v", d)
		}
		wantEvents(t, w, "read not connected", "down 2", "disconnected")
	})
}

// A read that is under way while the database changes is done again on the link that knows the new one.
func TestStartAndServiceChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := withGATT(thermometer(addrA), "")
		p := gatttest.New("near", dev)
		run(t, gatt.Config{}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
			w.hears(addrA, "near")
			if err := w.connect(addrA, ""); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
			w.take()
			dev.Services = append(dev.Services, ble.Service{Handle: 30, UUID: ble.UUID16(0xfff8)})
			dev.ReadDelay = time.Second
			w.Read(addrA, 6, func(v []byte, err error) { w.log("read %s %v", v, err) })
			p.SendNotification(addrA, 17, []byte{1, 0, 0xff, 0xff})
			settle(10 * time.Second)
			wantEvents(t, w, "changed 4 services", "read 21.5 <nil>")
			before := p.Started()
			if v, err := w.read(addrA, 6); v != "21.5" || err != nil {
				t.Errorf("Read = %q, %v", v, err)
			}
			if p.Started() != before+1 {
				t.Error("the new link has operations wait for the session")
			}
		})
	})
}
