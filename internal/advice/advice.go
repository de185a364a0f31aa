// Package advice says where proxies are wanted, from who hears what. It is plain computation: no I/O, no goroutines, no
// clock.
package advice

import (
	"cmp"
	"slices"
)

// Weak is the signal in dBm below which a device is badly heard: an ESP32 loses links with it.
const Weak = -85

// unheard stands in for a proxy that does not hear a device at all, in dBm: about the sensitivity of an ESP32.
const unheard = -97

// Device is who hears one device: dBm by the number of the proxy. A proxy that is not in it does not hear the device.
type Device struct {
	ID   string
	RSSI map[int]float64
}

// Proxy is what one proxy is good for.
type Proxy struct {
	Hears int // devices
	Best  int // of which it hears best
	Only  int // of which nobody else hears at all
	// Lost are the devices that nobody would hear well enough (above Weak) without it, though it does, the loudest
	// first.
	Lost []string
}

// Advice is what to do about a house.
type Advice struct {
	Proxies []Proxy  // by number
	Weak    []string // devices that nobody hears better than Weak, the weakest first
	// Spot is a device: a new proxy beside it would serve the most devices that are badly heard or depend on one proxy.
	// Empty if no device does.
	Spot string
	// Serves are those devices, Spot among them.
	Serves []string
}

// Of looks at the devices that proxies, of which there are n, hear.
func Of(n int, devices []Device) Advice {
	a := Advice{Proxies: make([]Proxy, n)}
	type weak struct {
		id   string
		best float64
	}
	var badly []weak
	need := map[string]float64{} // of another proxy nearby, by device
	for _, d := range devices {
		first, second, by := ranked(d, n)
		if by < 0 {
			continue
		}
		for p := range d.RSSI {
			if p >= 0 && p < n {
				a.Proxies[p].Hears++
			}
		}
		a.Proxies[by].Best++
		if len(d.RSSI) == 1 {
			a.Proxies[by].Only++
		}
		switch {
		case first <= Weak:
			badly = append(badly, weak{d.ID, first})
			need[d.ID] = needWeak
		case second <= Weak:
			a.Proxies[by].Lost = append(a.Proxies[by].Lost, d.ID)
			need[d.ID] = 1
		}
	}
	slices.SortFunc(badly, func(x, y weak) int { return cmp.Or(cmp.Compare(x.best, y.best), cmp.Compare(x.id, y.id)) })
	for _, w := range badly {
		a.Weak = append(a.Weak, w.id)
	}
	a.Spot, a.Serves = spot(n, devices, need)
	return a
}

// ranked gives the best and the second best signal of a device and the number of the best proxy, -1 if none hears it.
func ranked(d Device, n int) (first, second float64, by int) {
	first, second, by = unheard, unheard, -1
	for p := range n { // in order, so that equals give the same answer each time
		r, ok := d.RSSI[p]
		switch {
		case !ok:
		case by < 0 || r > first:
			second, first, by = first, r, p
			if second < unheard {
				second = unheard
			}
		case r > second:
			second = r
		}
	}
	return first, second, by
}

// needWeak is how many devices that hang on one proxy a device that nobody hears well counts as: those work today.
const needWeak = 3

// near is how many dB two devices may differ at each proxy, on average, and still be taken to be in one place.
const near = 9

// spot finds the device around which the need is greatest. Devices that all proxies hear alike are near one another.
func spot(n int, devices []Device, need map[string]float64) (string, []string) {
	var wanting []Device
	for _, d := range devices {
		if need[d.ID] > 0 {
			wanting = append(wanting, d)
		}
	}
	slices.SortFunc(wanting, func(x, y Device) int { return cmp.Compare(x.ID, y.ID) })
	var (
		best   float64
		where  string
		served []string
	)
	for _, at := range wanting {
		sum, list := 0.0, []string(nil)
		for _, d := range wanting {
			if away := apart(at, d, n); away < near {
				sum += need[d.ID] * (1 - away/(2*near))
				list = append(list, d.ID)
			}
		}
		if sum > best {
			best, where, served = sum, at.ID, list
		}
	}
	return where, served
}

// apart is how differently the proxies that hear at least one of two devices hear them, in dB on average.
func apart(x, y Device, n int) float64 {
	sum, count := 0.0, 0
	for p := range n {
		a, heardA := x.RSSI[p]
		b, heardB := y.RSSI[p]
		if !heardA && !heardB {
			continue
		}
		if !heardA {
			a = unheard
		}
		if !heardB {
			b = unheard
		}
		sum += max(a-b, b-a)
		count++
	}
	if count == 0 {
		return 1e9
	}
	return sum / float64(count)
}
