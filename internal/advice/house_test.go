package advice_test

import (
	"fmt"
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
			heard = append(heard, advice.Device{ID: fmt.Sprintf("%02d", i), RSSI: h.Heard(d)})
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
		var at int
		if _, err := fmt.Sscan(a.Spot, &at); err != nil {
			t.Errorf("house %d: no spot, where a proxy would serve %d more", seed, best)
			continue
		}
		if got := h.Won(h.Devices[at]); got < best*8/10 {
			t.Errorf("house %d: a proxy at device %s serves %d more devices, at the best place %d", seed, a.Spot, got, best)
		}
		if best > 0 && len(a.Weak) == 0 {
			t.Errorf("house %d: nobody is weak", seed)
		}
	}
}

// TestCounts: what each proxy is good for, and nonsense that does no harm.
func TestCounts(t *testing.T) {
	a := advice.Of(2, []advice.Device{
		{"both", map[int]float64{0: -50, 1: -60}}, {"one", map[int]float64{0: -70}}, {"weak", map[int]float64{1: -90, 7: -20}}, {"none", nil},
		{"hangs on 0", map[int]float64{0: -80, 1: -88}},
	})
	if p := a.Proxies[0]; p.Hears != 3 || p.Best != 3 || p.Only != 1 || len(p.Lost) != 2 {
		t.Errorf("%+v", p)
	}
	if p := a.Proxies[1]; p.Hears != 3 || p.Best != 1 || len(p.Lost) != 0 {
		t.Errorf("%+v", p)
	}
	if !slices.Equal(a.Weak, []string{"weak"}) || a.Spot == "" {
		t.Errorf("%+v", a)
	}
	if empty := advice.Of(0, nil); empty.Spot != "" || len(empty.Proxies) != 0 {
		t.Errorf("%+v", empty)
	}
}
