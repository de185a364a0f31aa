package gatt_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/gatt/gatttest"
)

// E3 of the users' reports: each proxy is asked with the address type that it reports, and with the other one as its
// second try if not all say the same.
func TestE3AddressTypeOfTheProxy(t *testing.T) {
	const pub, rnd = ble.Public, ble.Random
	for _, c := range []struct {
		name        string
		near, far   ble.AddressType // that the proxies report
		accepts     ble.AddressType
		bonded      bool
		first, next []ble.AddressType // that the proxies are asked with
	}{
		{"as reported: the far one is right", pub, rnd, rnd, false, []ble.AddressType{pub}, []ble.AddressType{rnd}},
		{"the near one is right", rnd, pub, rnd, false, []ble.AddressType{rnd}, nil},
		{"all are right, and the bus was told something else first", rnd, rnd, rnd, false, []ble.AddressType{rnd}, nil},
		{"a bond is out of reach of what is in the air", rnd, rnd, pub, true, []ble.AddressType{pub}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := gatttest.New("near", thermometer(addrA)), gatttest.New("far", thermometer(addrA))
				accepts := func(t ble.AddressType) bool { return t == c.accepts }
				near.Accepts, far.Accepts = accepts, accepts
				run(t, gatt.Config{}, []*gatttest.Proxy{near, far}, func(t *testing.T, w *world) {
					w.air.set(addrA, gatt.Path{Proxy: "near", RSSI: -50, Type: c.near}, gatt.Path{Proxy: "far", RSSI: -80, Type: c.far})
					if c.bonded {
						near.Accepts, far.Accepts = nil, nil
						if err := w.connect(addrA, ""); err != nil {
							t.Fatal(err)
						}
						if err := w.pair(); err != nil {
							t.Fatal(err)
						}
						w.disconnect(addrA)
						near.Accepts, far.Accepts = accepts, accepts
						near.ForgetTypes()
						far.ForgetTypes()
					}
					if err := w.connect(addrA, ""); err != nil { // as public
						t.Errorf("not connected: %v", err)
					}
					if !slices.Equal(near.Types(), c.first) || !slices.Equal(far.Types(), c.next) {
						t.Errorf("asked near with %v, far with %v, want %v and %v", near.Types(), far.Types(), c.first, c.next)
					}
				})
			})
		})
	}
	// All proxies are wrong, but do not agree with what is known: the second try is with the other type.
	synctest.Test(t, func(t *testing.T) {
		near := gatttest.New("near", thermometer(addrA))
		near.Accepts = func(t ble.AddressType) bool { return t == pub }
		run(t, gatt.Config{}, []*gatttest.Proxy{near}, func(t *testing.T, w *world) {
			w.air.set(addrA, gatt.Path{Proxy: "near", RSSI: -50, Type: rnd})
			if err := w.connect(addrA, ""); err != nil {
				t.Error(err)
			}
			if !slices.Equal(near.Types(), []ble.AddressType{rnd, pub}) {
				t.Errorf("asked with %v", near.Types())
			}
		})
	})
}
