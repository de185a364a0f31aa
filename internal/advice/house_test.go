package advice_test

import (
	"math"
	"slices"
	"testing"

	"bluez-esphome/internal/advice"
	"bluez-esphome/internal/advice/advicetest"
)

// TestHouse: the proxy whose loss the advice says hurts most is one whose loss hurts most by the truth, and a proxy at
// the spot that it names serves nearly as many devices as one at the best place of all.
func TestHouse(t *testing.T) {
	for seed := range uint64(20) {
		h := advicetest.New(seed, 60)
		var heard []advice.Device
		for i, d := range h.Devices {
			signals := make([]int8, len(h.Proxies))
			for p, dBm := range h.Heard(d) {
				signals[p] = int8(math.Round(dBm))
			}
			heard = append(heard, advice.Device{Key: uint64(i), RSSI: signals})
		}
		a := advice.Of(len(h.Proxies), heard)
		said := 0
		for i := range h.Proxies {
			if len(a.Proxies[i].Lost) > len(a.Proxies[said].Lost) {
				said = i
			}
		}
		if got, worst := h.Lost(said), h.MostLost(); got < worst-1 {
			t.Errorf("house %d: without proxy %d, which the advice names, %d devices are lost; without another %d", seed, said, got, worst)
		}
		best := h.MostWon()
		if a.Spot < 0 {
			t.Errorf("house %d: no spot, where a proxy would serve %d more", seed, best)
			continue
		}
		if got := h.Won(h.Devices[a.Spot]); got < best*8/10 {
			t.Errorf("house %d: a proxy at device %d serves %d more devices, at the best place %d", seed, a.Spot, got, best)
		}
		if best > 0 && len(a.Weak) == 0 {
			t.Errorf("house %d: nobody is weak", seed)
		}
	}
}

// TestCounts: what each proxy is good for, and nonsense that does no harm.
func TestCounts(t *testing.T) {
	a := advice.Of(2, []advice.Device{
		{1, []int8{-50, -60}}, {2, []int8{-70}}, {3, []int8{0, -90, 0, 0, 0, 0, 0, -20}}, {4, nil}, {5, []int8{-80, -88}},
	})
	if p := a.Proxies[0]; p.Hears != 3 || p.Best != 3 || p.Only != 1 || len(p.Lost) != 2 {
		t.Errorf("%+v", p)
	}
	if p := a.Proxies[1]; p.Hears != 3 || p.Best != 1 || len(p.Lost) != 0 {
		t.Errorf("%+v", p)
	}
	if !slices.Equal(a.Weak, []int{2}) || !slices.Equal(a.Proxies[0].Lost, []int{1, 4}) || a.Spot < 0 {
		t.Errorf("%+v", a)
	}
	if empty := advice.Of(0, nil); empty.Spot >= 0 || len(empty.Proxies) != 0 {
		t.Errorf("%+v", empty)
	}
}
