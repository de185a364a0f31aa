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

// §11.8: what a cached link reports as its MTU is another link's up to 2026.7, and 23 from then on, except where a proxy that is no
// ESPHome says what it is.
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
