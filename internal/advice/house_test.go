package advice

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// A house is simulated: its proxies and devices have places, and walls cost signal. The truth is computed from the
// places, which the advice never sees.
type house struct {
	proxies, devices [][2]float64
	walls            []float64 // at these x
	rng              *rand.Rand
}

// signal is what a proxy at p hears of a device at d, in dBm: log-distance loss and 7 dB for each wall.
func (h *house) signal(p, d [2]float64) float64 {
	dist := max(math.Hypot(p[0]-d[0], p[1]-d[1]), 1)
	loss := 10 * 2.8 * math.Log10(dist)
	for _, x := range h.walls {
		if (p[0]-x)*(d[0]-x) < 0 {
			loss += 7
		}
	}
	return -48 - loss
}

func newHouse(seed uint64) *house {
	h := &house{walls: []float64{8, 16, 24, 32, 40}, rng: rand.New(rand.NewPCG(seed, 1))}
	for i := range 12 {
		h.proxies = append(h.proxies, [2]float64{float64(i%6)*6 + 2 + 3*h.rng.Float64(), float64(i/6)*9 + 2 + 3*h.rng.Float64()})
	}
	for range 52 {
		h.devices = append(h.devices, [2]float64{36 * h.rng.Float64(), 18 * h.rng.Float64()})
	}
	for range 8 { // in the shed, far from all
		h.devices = append(h.devices, [2]float64{52 + 4*h.rng.Float64(), 4 + 4*h.rng.Float64()})
	}
	return h
}

// heard is what the proxies hear, with 2 dB of noise either way; below -95 dBm nothing is heard.
func (h *house) heard() (out []Device) {
	for i, d := range h.devices {
		dev := Device{ID: fmt.Sprintf("%02d", i), RSSI: map[int]float64{}}
		for p, at := range h.proxies {
			if r := h.signal(at, d) + 4*h.rng.Float64() - 2; r >= -95 {
				dev.RSSI[p] = r
			}
		}
		out = append(out, dev)
	}
	return out
}

// well counts the devices that a proxy at one of the places hears well, by the truth.
func (h *house) well(places [][2]float64) int {
	n := 0
	for _, d := range h.devices {
		if slices.ContainsFunc(places, func(p [2]float64) bool { return h.signal(p, d) > Weak }) {
			n++
		}
	}
	return n
}

// TestHouse: the proxy whose loss the advice says hurts most is one whose loss hurts most by the truth, and a proxy at
// the spot that it names serves nearly as many devices as one at the best place of all.
func TestHouse(t *testing.T) {
	for seed := range uint64(20) {
		h := newHouse(seed)
		a := Of(len(h.proxies), h.heard())
		all := h.well(h.proxies)
		worst, said := 0, 0
		for i := range h.proxies {
			loss := all - h.well(slices.Delete(slices.Clone(h.proxies), i, i+1))
			worst = max(worst, loss)
			if len(a.Proxies[i].Lost) > len(a.Proxies[said].Lost) {
				said = i
			}
		}
		if got := all - h.well(slices.Delete(slices.Clone(h.proxies), said, said+1)); got < worst-1 {
			t.Errorf("house %d: without proxy %d, which the advice names, %d devices are lost; without another %d", seed, said, got, worst)
		}
		best := 0
		for x := 0.0; x < 60; x += 2 {
			for y := 0.0; y < 20; y += 2 {
				best = max(best, h.well(append(slices.Clone(h.proxies), [2]float64{x, y}))-all)
			}
		}
		var at int
		if _, err := fmt.Sscan(a.Spot, &at); err != nil {
			t.Errorf("house %d: no spot, where a proxy would serve %d more", seed, best)
			continue
		}
		if got := h.well(append(slices.Clone(h.proxies), h.devices[at])) - all; got < best*8/10 {
			t.Errorf("house %d: a proxy at device %s serves %d more devices, at the best place %d", seed, a.Spot, got, best)
		}
		if best > 0 && len(a.Weak) == 0 {
			t.Errorf("house %d: nobody is weak", seed)
		}
	}
}

// TestCounts: what each proxy is good for, and nonsense that does no harm.
func TestCounts(t *testing.T) {
	a := Of(2, []Device{
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
	if empty := Of(0, nil); empty.Spot != "" || len(empty.Proxies) != 0 {
		t.Errorf("%+v", empty)
	}
}
