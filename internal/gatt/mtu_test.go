package gatt_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// §11.8: what a cached link reports as its MTU is another link's up to 2026.7, and 23 from then on, except where a
// proxy that is no ESPHome says what it is.
func TestMTUOfCachedLink(t *testing.T) {
	for _, c := range []struct {
		version  string
		reported int
		want     int
	}{
		{"2026.6.5", 517, 185},
		{"2025.11.0", 23, 185},
		{"2026.7.4", 247, 185},
		{"2026.10.0", 23, 185},
		{"2026.10.0", 100, 100},
	} {
		t.Run(fmt.Sprint(c.version, " ", c.reported), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				dev.MTU = 185
				dev.Services = append(dev.Services, ble.Service{UUID: ble.UUID16(0x1801), Handle: 40, Characteristics: []ble.Characteristic{
					{ValueHandle: 42, UUID: ble.UUIDDatabaseHash, Properties: ble.PropRead}}})
				dev.Values[42] = []byte("hash")
				p := gatttest.New("near", dev)
				p.Firmware, p.CachedMTU = c.version, c.reported
				run(t, gatt.Config{Store: store{}}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.hears(addrA, "near")
					for _, want := range []int{185, c.want} {
						w.take()
						if err := w.connect(addrA, ""); err != nil {
							t.Fatal(err)
						}
						settle(time.Second)
						if up := fmt.Sprintf("up %d", want); !slices.Contains(w.take(), up) {
							t.Errorf("no event %q", up)
						}
						w.disconnect(addrA)
						settle(10 * time.Second)
					}
					if n := p.Count("connect-cached " + addrA.String()); n != 1 {
						t.Errorf("%d cached connections, want 1", n)
					}
				})
			})
		})
	}
}

// A device whose MTU shrank is not given more than its link takes, where the firmware tells (§11.8, from 2026.8 on),
// and earlier firmware is not asked.
func TestMTUShrinks(t *testing.T) {
	for _, c := range []struct {
		name, version string
		tells         time.Duration
		mtu, want     int
		asked         int
	}{
		{"it shrank", "2026.10.0", 10 * time.Millisecond, 60, 60, 1},
		{"to the least", "2026.8.2", 10 * time.Millisecond, 23, 23, 1},
		{"it grew", "2026.10.0", 10 * time.Millisecond, 247, 247, 1},
		{"no answer", "2026.10.0", -1, 60, 185, 1},
		{"firmware that does not tell", "2026.7.4", 10 * time.Millisecond, 60, 185, 0},
		{"no ESPHome", "something", 10 * time.Millisecond, 60, 185, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := thermometer(addrA)
				dev.MTU = 185
				dev.Services = append(dev.Services, ble.Service{UUID: ble.UUID16(0x1801), Handle: 40, Characteristics: []ble.Characteristic{
					{ValueHandle: 42, UUID: ble.UUIDDatabaseHash, Properties: ble.PropRead}}})
				dev.Values[42] = []byte("hash")
				p := gatttest.New("near", dev)
				p.Firmware, p.TellsMTU = c.version, c.tells
				run(t, gatt.Config{Store: store{}}, []*gatttest.Proxy{p}, func(t *testing.T, w *world) {
					w.hears(addrA, "near")
					for _, want := range []int{185, c.want, c.want} {
						w.take()
						if err := w.connect(addrA, ""); err != nil {
							t.Fatal(err)
						}
						settle(2 * time.Second)
						if resolved := fmt.Sprintf("resolved 3 services, mtu %d", want); !slices.Contains(w.take(), resolved) {
							t.Errorf("no event %q", resolved)
						}
						dev.MTU = c.mtu
						w.disconnect(addrA)
						settle(10 * time.Second)
					}
					if n := p.Count("mtu " + addrA.String()); n < c.asked || c.asked == 0 && n > 0 {
						t.Errorf("asked %d times", n)
					}
					if n := p.Count("disconnect " + addrA.String()); c.asked > 0 && n != 3 {
						t.Errorf("%d disconnections, want 3", n)
					}
				})
			})
		})
	}
}
