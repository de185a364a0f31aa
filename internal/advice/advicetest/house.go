// Package advicetest has a simulated house with proxies, devices and walls: what its proxies hear, and what is true of
// its places, which the advice never sees.
package advicetest

import (
	"math"
	"math/rand/v2"
	"slices"

	"bluez-esphome/internal/advice"
)

// A Place is in metres.
type Place [2]float64

// House is a house of twelve rooms, six by two of 9 by 9 metres, each with a proxy, and a shed apart that is heard
// badly. Some rooms are full of devices and some nearly empty, so that it matters which proxy fails.
type House struct {
	Proxies, Devices []Place
	Walls            [2][]float64 // at these x, and at these y
	rng              *rand.Rand
}

// wallLoss is what a wall costs, in dB: reinforced concrete.
const wallLoss = 9

// sensitivity is below what a proxy hears nothing, in dBm.
const sensitivity = -95

// New makes one of twelve proxies and so many devices, one in seven or eight of which is in the shed. The same seed
// makes the same house.
func New(seed uint64, devices int) *House {
	h := &House{Walls: [2][]float64{{9, 18, 27, 36, 45, 54}, {9}}, rng: rand.New(rand.NewPCG(seed, 1))}
	in := func(room int) Place { // a place in it, half a metre from its walls
		return Place{float64(room%6)*9 + .5 + 8*h.rng.Float64(), float64(room/6)*9 + .5 + 8*h.rng.Float64()}
	}
	for room := range 12 {
		h.Proxies = append(h.Proxies, in(room))
	}
	shed := devices * 2 / 15
	for range devices - shed {
		// The lower of two: rooms with low numbers have more. The rooms' numbers are mixed, so that these are anywhere.
		room := min(h.rng.IntN(12), h.rng.IntN(12))
		h.Devices = append(h.Devices, in((room*5+int(seed))%12))
	}
	for range shed {
		h.Devices = append(h.Devices, Place{58 + 3*h.rng.Float64(), 7 + 4*h.rng.Float64()})
	}
	return h
}

// Signal is what a proxy at p hears of a device at d, in dBm: log-distance loss, and the walls.
func (h *House) Signal(p, d Place) float64 {
	loss := 10 * 2.8 * math.Log10(max(math.Hypot(p[0]-d[0], p[1]-d[1]), 1))
	for axis, walls := range h.Walls {
		for _, at := range walls {
			if (p[axis]-at)*(d[axis]-at) < 0 {
				loss += wallLoss
			}
		}
	}
	return -50 - loss
}

// Heard is what the proxies hear of a device, dBm by their numbers, with 2 dB of noise either way.
func (h *House) Heard(d Place) map[int]float64 {
	out := map[int]float64{}
	for p, at := range h.Proxies {
		if r := h.Signal(at, d) + 4*h.rng.Float64() - 2; r >= sensitivity {
			out[p] = r
		}
	}
	return out
}

// well counts the devices that a proxy at one of the places hears well.
func (h *House) well(places []Place) int {
	n := 0
	for _, d := range h.Devices {
		if slices.ContainsFunc(places, func(p Place) bool { return h.Signal(p, d) > advice.Weak }) {
			n++
		}
	}
	return n
}

// Lost is how many devices nobody hears well any more without a proxy.
func (h *House) Lost(proxy int) int {
	return h.well(h.Proxies) - h.well(slices.Delete(slices.Clone(h.Proxies), proxy, proxy+1))
}

// MostLost is the most devices that the loss of one proxy costs.
func (h *House) MostLost() int {
	most := 0
	for i := range h.Proxies {
		most = max(most, h.Lost(i))
	}
	return most
}

// Won is how many devices more are heard well with a proxy at a place.
func (h *House) Won(at Place) int {
	return h.well(append(slices.Clone(h.Proxies), at)) - h.well(h.Proxies)
}

// MostWon is the most that a proxy at any place wins, on a grid of two metres.
func (h *House) MostWon() int {
	most := 0
	for x := 0.0; x < 78; x += 2 {
		for y := 0.0; y < 20; y += 2 {
			most = max(most, h.Won(Place{x, y}))
		}
	}
	return most
}
