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

// Device is who hears one device.
type Device struct {
	Key  uint64 // in whose order devices are taken that are as good as one another
	RSSI []int8 // dBm by the number of the proxy, 0 unheard; it may be shorter than there are proxies
}

// Proxy is what one proxy is good for.
type Proxy struct {
	Hears int // devices
	Best  int // of which it hears best
	Only  int // of which nobody else hears at all
	// Lost are the devices that nobody would hear well enough (above Weak) without it, though it does, by their Keys.
	Lost []int
}

// Advice is what to do about a house. Devices are told by their places in the list that was given.
type Advice struct {
	Proxies []Proxy // by number
	Weak    []int   // devices that nobody hears better than Weak, the weakest first
	// Spot is a device: a new proxy beside it would serve the most devices that are badly heard or depend on one proxy.
	// It is -1 if no device does.
	Spot int
	// Serves are those devices, Spot among them.
	Serves []int
}

// Of looks at the devices that proxies, of which there are n, hear.
func Of(n int, devices []Device) Advice {
	a := Advice{Proxies: make([]Proxy, n)}
	type weak struct {
		device int
		best   int
	}
	var badly []weak
	var wanting []want
	for i, d := range devices {
		r := rank(d.RSSI[:min(n, len(d.RSSI))])
		if r.heard == 0 {
			continue
		}
		for p, rssi := range d.RSSI[:min(n, len(d.RSSI))] {
			if rssi != 0 {
				a.Proxies[p].Hears++
			}
		}
		best := &a.Proxies[r.by]
		best.Best++
		if r.heard == 1 {
			best.Only++
		}
		switch {
		case r.first <= Weak:
			badly = append(badly, weak{i, r.first})
			wanting = append(wanting, want{device: i, need: needWeak})
		case r.second <= Weak:
			best.Lost = append(best.Lost, i)
			wanting = append(wanting, want{device: i, need: 1})
		}
	}
	byKey := func(x, y int) int { return cmp.Compare(devices[x].Key, devices[y].Key) }
	for _, p := range a.Proxies {
		slices.SortFunc(p.Lost, byKey)
	}
	slices.SortFunc(badly, func(x, y weak) int {
		return cmp.Or(cmp.Compare(x.best, y.best), byKey(x.device, y.device))
	})
	for _, w := range badly {
		a.Weak = append(a.Weak, w.device)
	}
	a.Spot, a.Serves = spot(n, devices, wanting, byKey)
	return a
}

// ranking is the best and the second best signal of a device in dBm, the number of the best proxy, and how many hear it.
type ranking struct{ first, second, by, heard int }

func rank(signals []int8) ranking {
	r := ranking{first: unheard, second: unheard}
	for p, rssi := range signals { // in order, so that equals give the same answer each time
		v := int(rssi)
		switch {
		case v == 0:
			continue
		case r.heard == 0 || v > r.first:
			r.first, r.second, r.by = v, max(unheard, r.first), p
		case v > r.second:
			r.second = v
		}
		r.heard++
	}
	return r
}

// needWeak is how many devices that hang on one proxy a device that nobody hears well counts as: those work today.
const needWeak = 3

// near is how many dB two devices may differ at each proxy, on average, and still be taken to be in one place.
const near = 9

// want is a device that another proxy nearby would serve.
type want struct {
	device int
	need   float64
	served float64 // the need that a proxy beside it would serve
}

// spot finds the device around which the need is greatest. Devices that all proxies hear alike are near one another.
func spot(n int, devices []Device, wanting []want, byKey func(x, y int) int) (at int, serves []int) {
	slices.SortFunc(wanting, func(x, y want) int { return byKey(x.device, y.device) })
	for i := range wanting {
		x := &wanting[i]
		x.served += x.need
		for j := i + 1; j < len(wanting); j++ {
			y := &wanting[j]
			if away := apart(devices[x.device].RSSI, devices[y.device].RSSI, n); away < near {
				x.served += y.need * (1 - away/(2*near))
				y.served += x.need * (1 - away/(2*near))
			}
		}
	}
	at, most := -1, 0.0
	for _, w := range wanting {
		if w.served > most {
			at, most = w.device, w.served
		}
	}
	if at < 0 {
		return at, nil
	}
	for _, w := range wanting {
		if apart(devices[at].RSSI, devices[w.device].RSSI, n) < near {
			serves = append(serves, w.device)
		}
	}
	return at, serves
}

// apart is how differently the proxies that hear at least one of two devices hear them, in dB on average. Of devices that
// are not near it may give less than that, but no less than near: all pairs are compared.
func apart(x, y []int8, n int) float64 {
	sum, count := 0, 0
	for p := range n {
		a, b := at(x, p), at(y, p)
		if a == 0 && b == 0 {
			continue
		}
		if a == 0 {
			a = unheard
		}
		if b == 0 {
			b = unheard
		}
		sum += max(a-b, b-a)
		if sum >= near*n { // whatever the others are
			return near
		}
		count++
	}
	if count == 0 {
		return near
	}
	return float64(sum) / float64(count)
}

func at(signals []int8, p int) int {
	if p < len(signals) {
		return int(signals[p])
	}
	return 0
}
