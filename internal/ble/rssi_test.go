package ble

import "testing"

func TestKnownRSSI(t *testing.T) {
	t.Parallel()
	for rssi, want := range map[int]bool{0: false, -127: false, 127: false, -128: false, 21: false, 126: false, 300: false, -300: false, -126: true, -1: true, 20: true} {
		if KnownRSSI(rssi) != want || rssi >= -128 && rssi <= 127 && KnownRSSI(int8(rssi)) != want {
			t.Errorf("%d dBm: known is %v", rssi, !want)
		}
	}
}

// Each type of AD structure that has UUIDs is read as such, by all that read it.
func TestUUIDsOf(t *testing.T) {
	t.Parallel()
	for typ := range 256 {
		size, data := UUIDsOf(uint8(typ))
		raw := append([]byte{18, uint8(typ)}, make([]byte, 17)...)
		a, s := ParseAdvertisement(raw), Summarize(raw)
		if (len(a.ServiceData) > 0) != data || (len(a.ServiceUUIDs) > 0) != (size > 0 && !data) || s.HasServiceUUIDs != (len(a.ServiceUUIDs) > 0) {
			t.Errorf("type 0x%02x: %d bytes, data %v: %+v and %+v", typ, size, data, a, s)
		}
	}
}
