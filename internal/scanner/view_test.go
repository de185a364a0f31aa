package scanner

import (
	"testing"

	"bluez-esphome/internal/ble"
)

// Recent gives those heard last first, and not more than were asked for.
func TestRecent(t *testing.T) {
	a := newAir(t, "p", "q")
	for i := range 5 {
		a.hear(float64(i), "p", ble.Address(i+1), -50, "020106")
	}
	a.hear(6, "q", 2, -40, "020106")
	for n, want := range map[int][]ble.Address{0: {}, 2: {2, 5}, 9: {2, 5, 4, 3, 1}} {
		got := a.Recent(n)
		if len(got) != len(want) {
			t.Fatalf("%d asked for, %d given", n, len(got))
		}
		for i, d := range got {
			if d.Address != want[i] {
				t.Errorf("place %d of %d: %s, want %s", i, n, d.Address, want[i])
			}
		}
	}
	d, ok := a.Device(2)
	if !ok || len(d.Sources) != 2 {
		t.Errorf("a device that two proxies hear: %+v, %v", d, ok)
	}
	if _, ok := a.Device(99); ok {
		t.Error("a device that nobody heard")
	}
}

// A report says when the oldest advert was heard that it tells of.
func TestReportSince(t *testing.T) {
	a := newAir(t, "p")
	a.SetDiscovery(all)
	a.hear(1, "p", dev, -50, "020106")
	a.hear(1.5, "p", dev, -50, "0201060303aafe")
	r := a.take()
	if len(r) != 1 || !r[0].Since.Equal(a.at(1)) {
		t.Fatalf("reports %+v, want one since %s", r, a.at(1))
	}
	a.hear(9, "p", dev, -50, "02010603030f18")
	r = a.take()
	if len(r) != 1 || !r[0].Since.Equal(a.at(9)) {
		t.Fatalf("the next reports are %+v, want one since %s", r, a.at(9))
	}
}
