package web

import (
	"time"

	"bluez-esphome/internal/advice"
	"bluez-esphome/internal/ble"
)

// Bounds of the advice.
const (
	adviceAge = 2 * time.Minute // what was heard longer ago does not count
	maxLost   = 12              // devices that are named
)

// survey is who hears what, as package advice takes it, in memory that is used again.
type survey struct {
	proxies int
	devices []advice.Device
	signals []int8
}

// begin makes room for devices that nobody hears yet.
func (s *survey) begin(proxies int, devices []ble.Heard) {
	s.proxies, s.devices = proxies, s.devices[:0]
	if need := proxies * len(devices); cap(s.signals) < need {
		s.signals = make([]int8, need)
	} else {
		s.signals = s.signals[:need]
		clear(s.signals)
	}
	for i := range devices {
		s.devices = append(s.devices, advice.Device{Key: uint64(devices[i].Address), RSSI: s.signals[i*proxies : (i+1)*proxies]})
	}
}

// row is where it says how the proxies hear one of the devices.
func (s *survey) row(device int) []int8 { return s.devices[device].RSSI }

// counts reports whether a signal of that age counts for the advice.
func counts(s *ble.Signal, age time.Duration) bool { return age < max(adviceAge, 3*s.Interval) }

// advise says where a proxy is wanted, by the survey.
func (v *view) advise() pageAdvice {
	name := func(device int) string {
		h := &v.devices[device]
		if n := text(h.Name); n != "" {
			return n
		}
		return h.Address.String()
	}
	a := advice.Of(v.survey.proxies, v.survey.devices)
	out := pageAdvice{Proxies: make([]pageWorth, 0, len(a.Proxies)), Weak: len(a.Weak), Serves: len(a.Serves)}
	if a.Spot >= 0 {
		h := &v.devices[a.Spot]
		out.Spot, out.SpotOf = h.Address.String(), text(h.Name)
	}
	for _, p := range a.Proxies {
		w := pageWorth{Hears: p.Hears, Best: p.Best, Only: p.Only, Loses: len(p.Lost)}
		for _, d := range p.Lost[:min(maxLost, len(p.Lost))] {
			w.Lost = append(w.Lost, name(d))
		}
		out.Proxies = append(out.Proxies, w)
	}
	return out
}
