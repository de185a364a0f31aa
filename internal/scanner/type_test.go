package scanner

import (
	"testing"

	"bluez-esphome/internal/ble"
)

func (a *air) hearType(seconds float64, proxy string, rssi int8, t ble.AddressType) {
	a.Adverts(proxy, a.at(seconds), []ble.RawAdvert{{Address: dev, Type: t, RSSI: rssi, Data: []byte{2, 1, 6}}})
}

// types are what the proxies mostly report, and what the device is.
func (a *air) types() (d ble.AddressType, byProxy map[string]ble.AddressType) {
	byProxy = map[string]ble.AddressType{}
	for _, p := range a.Paths(dev) {
		byProxy[p.Proxy] = p.Type
	}
	d, _ = a.Lookup(dev)
	return d, byProxy
}

// E3 of the users' reports: the address type is what each proxy reports; one wrong report changes nothing.
func TestE3AddressTypes(t *testing.T) {
	a := newAir(t, "A", "B")
	a.hearType(0, "A", -50, ble.Public)
	a.hearType(0.1, "B", -80, ble.Random)
	if d, by := a.types(); d != ble.Public || by["A"] != ble.Public || by["B"] != ble.Random {
		t.Errorf("%v, %v", d, by)
	}
	for i := range 10 {
		a.hearType(1+float64(i)*0.1, "A", -50, ble.Public)
		a.hearType(1+float64(i)*0.1, "B", -80, ble.Random)
	}
	a.hearType(3, "A", -50, ble.Random) // spoofed
	a.hearType(3, "B", -80, ble.Public)
	if d, by := a.types(); d != ble.Public || by["A"] != ble.Public || by["B"] != ble.Random {
		t.Errorf("after a wrong report: %v, %v", d, by)
	}
	for i := range 20 { // the device is another one now, such as a board that was flashed
		a.hearType(4+float64(i)*0.1, "A", -50, ble.Random)
	}
	if d, by := a.types(); d != ble.Random || by["A"] != ble.Random {
		t.Errorf("after it changed: %v, %v", d, by)
	}
	for i := range 20 { // what others than the owner say is theirs alone
		a.hearType(6+float64(i)*0.1, "A", -50, ble.Random)
		a.hearType(6+float64(i)*0.1, "B", -80, ble.PublicIdentity)
	}
	if d, by := a.types(); d != ble.Random || by["B"] != ble.PublicIdentity {
		t.Errorf("with a dissenter: %v, %v", d, by)
	}
}
