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

// A reader that looks again and again gets what Recent gives, with its own numbers of the proxies, and nothing is
// allocated for it once its memory is large enough.
func TestAppendRecent(t *testing.T) {
	a := newAir(t, "p", "q", "r")
	for i := range 50 {
		for _, p := range []string{"p", "q", "r"} {
			a.hear(float64(i), p, ble.Address(i+1), int8(-50-i), "0201060303aafe")
		}
	}
	numbers := map[string]int{"p": 7, "q": 3}
	out := a.AppendRecent(nil, 20, numbers)
	want := a.Recent(20)
	for i, h := range out {
		if h.Address != want[i].Address || !h.LastHeard.Equal(want[i].LastHeard) || len(h.Signals) != 2 {
			t.Fatalf("place %d: %+v, want %+v", i, h, want[i])
		}
		for _, s := range h.Signals {
			src := want[i].Sources[map[int]int{7: 0, 3: 1}[s.Proxy]]
			if s.RSSI != src.RSSI || s.Owner != src.Owner || !s.LastHeard.Equal(src.LastHeard) || s.Interval != src.Interval {
				t.Fatalf("device %v: %+v, want %+v", h.Address, s, src)
			}
		}
	}
	out = a.AppendHeard(out, 1, numbers)
	if h := out[len(out)-1]; len(out) != 21 || h.Address != 1 || len(a.AppendHeard(out, 99, numbers)) != 21 {
		t.Errorf("%d devices, the last %+v", len(out), h)
	}
	if n := testing.AllocsPerRun(10, func() { out = a.AppendRecent(out[:0], 20, numbers) }); n > 0 {
		t.Errorf("%v allocations for a look", n)
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
