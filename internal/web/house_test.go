package web

import (
	"fmt"
	"time"

	"bluez-esphome/internal/ble"
)

// houseDevice is the address of the first device of a house.
const houseDevice = ble.Address(0xaa0000000001)

// houseSource has twelve proxies, one of which is offline, and n devices. Ten proxies hear device i, proxy i%12
// loudest; every 20th device is heard by one proxy only, and badly. The first device is connected, and the last
// connection to the second one failed.
func houseSource(n int) *fakeSource {
	now := time.Now()
	f := &fakeSource{live: true, began: now, air: Air{Devices: n, Adverts: 1}, details: map[ble.Address]Detail{}}
	for i := range 12 {
		p := Proxy{Name: fmt.Sprintf("room-%02d", i), Host: fmt.Sprintf("10.0.0.%d:6053", i), State: "online", Version: "2026.10.0", ScanMode: "active",
			SlotsKnown: true, SlotLimit: 3, SlotFree: 3, Owned: n / 12, LastHeard: now}
		if i == 7 {
			p.State, p.LastError, p.LinkError = "offline", "no route to host: check its power", "2026-11-30 03:00:00 AA:00:00:00:00:02: did not answer, or out of reach (0x85)"
		}
		if i == 0 {
			p.SlotFree, p.Slots = 2, []Slot{{Address: houseDevice, Name: "Device 0", State: slotConnected, Owners: []string{"D-Bus"}}}
		}
		f.proxies = append(f.proxies, p)
	}
	for i := range n {
		d := Device{Address: houseDevice + ble.Address(i), Name: fmt.Sprintf("Device %d", i), LastHeard: now}
		if i == 1 {
			d.LastError = "2026-11-30 03:00:00: room-07: did not answer, or out of reach (0x85)"
		}
		for j := range 10 {
			d.Sources = append(d.Sources, ble.Source{Proxy: f.proxies[(i+j)%12].Name, RSSI: int8(-45 - 5*j), LastHeard: now, Owner: j == 0, Interval: time.Second})
		}
		if i%20 == 19 {
			d.Sources = d.Sources[:1]
			d.Sources[0].RSSI = -91
		}
		f.devices = append(f.devices, d)
		f.details[d.Address] = Detail{Type: ble.Random, Connectable: true, LastError: d.LastError, Sources: d.Sources,
			Last: &ble.Advertisement{ManufacturerData: []ble.ManufacturerData{{Company: 0x0499, Data: []byte{5, 1}}}}}
	}
	f.details[f.devices[0].Address] = Detail{Via: "room-00", Since: now.Add(-7 * time.Minute), Owners: []string{"D-Bus"}, Sources: f.devices[0].Sources}
	f.connects = []Connect{
		{At: now.Add(-time.Minute), Device: f.devices[1].Address, Name: "Device 1", Asked: []string{"D-Bus"}, Took: 20 * time.Second, Result: "no-answer", SlotWait: 2 * time.Second,
			Error: "cannot connect: room-07: did not answer, or out of reach (0x85)", Tries: []Try{{Proxy: "room-07", RSSI: -80, Took: 4 * time.Second, Result: "did not answer, or out of reach (0x85)"}}},
		{At: now.Add(-7 * time.Minute), Device: f.devices[0].Address, Name: "Device 0", Result: "connected", Proxy: "room-00", Took: time.Second, Tries: []Try{{Proxy: "room-00", RSSI: -45, Result: "connected"}}},
	}
	return f
}
