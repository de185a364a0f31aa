package scanner

import (
	"testing"

	"bluez-esphome/internal/ble"
)

func TestDiscoveryFilters(t *testing.T) {
	battery, other := ble.UUID16(0x180f), ble.UUID16(0x1234)
	// Service 0x180f, service data of 0x1234, TX power 4, name "Golden".
	const payload = "03030f180416341201020a040709476f6c64656e"
	type f = ble.DiscoveryFilter
	rssi := func(v int16) f { return f{HasRSSI: true, RSSI: v} }
	loss := func(v uint16) f { return f{HasPathloss: true, Pathloss: v} }
	pattern := func(s string) f { return f{HasPattern: true, Pattern: s} }
	for _, c := range []struct {
		name     string
		sessions []f
		payload  string
		want     bool
	}{
		{"regular", []f{{}}, "", true},
		{"regular shows devices without discoverable flags", []f{{}}, "020104", true},
		{"le", []f{{Transport: ble.TransportLE}}, "020104", true},
		{"bredr", []f{{Transport: ble.TransportBREDR}}, payload, false},
		{"bredr and regular", []f{{Transport: ble.TransportBREDR}, {}}, payload, true},
		{"discoverable is not a filter of devices", []f{{Discoverable: true}}, "020104", true},
		{"UUID", []f{{UUIDs: []ble.UUID{other, battery}}}, payload, true},
		{"UUID of service data only", []f{{UUIDs: []ble.UUID{other}}}, payload, false},
		{"no UUID", []f{{UUIDs: []ble.UUID{battery}}}, "020106", false},
		{"RSSI at", []f{rssi(-70)}, payload, true},
		{"RSSI above", []f{rssi(-69)}, payload, false},
		{"path loss at", []f{loss(74)}, payload, true},
		{"path loss below", []f{loss(73)}, payload, false},
		{"path loss without TX power", []f{loss(137)}, "020106", false},
		{"path loss with unknown TX power", []f{loss(137)}, "020a7f", false},
		{"empty pattern", []f{pattern("")}, "", true},
		{"address in lower case", []f{pattern("aa:bB:c")}, payload, true},
		{"whole address", []f{pattern("AA:BB:CC:DD:EE:FF")}, payload, true},
		{"more than the address", []f{pattern("AA:BB:CC:DD:EE:FF0")}, payload, false},
		{"other address", []f{pattern("AB")}, payload, false},
		{"colon in the wrong place", []f{pattern("AAB")}, payload, false},
		{"name", []f{pattern("Gold")}, payload, true},
		{"name in lower case", []f{pattern("gold")}, payload, false},
		{"not the start of the name", []f{pattern("olden")}, payload, false},
		{"all of one session", []f{{UUIDs: []ble.UUID{battery}, HasRSSI: true, RSSI: -70}}, payload, true},
		{"not half of two", []f{{UUIDs: []ble.UUID{battery}, HasRSSI: true, RSSI: -60},
			{UUIDs: []ble.UUID{other}, HasRSSI: true, RSSI: -80}}, payload, false},
		{"one of two", []f{{UUIDs: []ble.UUID{other}}, rssi(-80)}, payload, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAir(t, "A")
			a.SetDiscovery(c.sessions)
			a.hear(0, "A", dev, -70, c.payload)
			if got := len(a.take()) == 1; got != c.want {
				t.Errorf("reported: %v", got)
			}
		})
	}
}

func TestUnknownRSSIIsTheWeakest(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery([]ble.DiscoveryFilter{{HasRSSI: true, RSSI: -126}})
	a.hear(0, "A", dev, 0, "")
	if len(a.take()) != 0 {
		t.Error("passed -126")
	}
	a.SetDiscovery([]ble.DiscoveryFilter{{HasRSSI: true, RSSI: -127}})
	a.hear(1, "A", dev, 0, "")
	if len(a.take()) != 1 {
		t.Error("did not pass -127")
	}
}

// A proxy may forward advertisement and scan response apart: conditions hold for both together.
func TestFilterLooksAtBothParts(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery([]ble.DiscoveryFilter{{UUIDs: []ble.UUID{ble.UUID16(0x180f)}, HasPattern: true, Pattern: "AB"}})
	a.hear(0, "A", dev, -70, "03030f18")
	if len(a.take()) != 0 {
		t.Error("reported without its name")
	}
	a.hear(0.1, "A", dev, -70, "03094142")
	expect(t, "both parts", a.payloads(), "03030f18", "03094142")
	a.hear(5, "A", dev+1, -70, "03030f18")
	a.hear(7, "A", dev+1, -70, "03094142")
	expect(t, "parts too far apart", a.payloads())
}

// A device that did not pass for a while shows its present content when it passes again.
func TestContentMissedWhileFiltered(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery([]ble.DiscoveryFilter{{HasRSSI: true, RSSI: -70}})
	a.hear(0, "A", dev, -60, p1)
	expect(t, "near", a.payloads(), p1)
	a.hear(1, "A", dev, -90, p2)
	expect(t, "far", a.payloads())
	a.hear(2, "A", dev, -60, p2)
	expect(t, "near again", a.payloads(), p2)
}

func TestAutoConnect(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery([]ble.DiscoveryFilter{{}, {HasPattern: true, Pattern: "AA", AutoConnect: true}, {AutoConnect: true}})
	a.hear(0, "A", dev, -70, p1)
	a.hear(0, "A", 1, -70, p1)
	r := a.take()
	if len(r) != 2 || !r[0].AutoConnect || r[1].AutoConnect {
		t.Errorf("%+v", r)
	}
}

func TestFiltersAreCopied(t *testing.T) {
	a := newAir(t, "A")
	f := []ble.DiscoveryFilter{{UUIDs: []ble.UUID{ble.UUID16(0x180f)}}}
	a.SetDiscovery(f)
	f[0].UUIDs[0] = ble.UUID{}
	a.hear(0, "A", dev, -70, "03030f18")
	if len(a.take()) != 1 {
		t.Error("the table uses the caller's slice")
	}
}
