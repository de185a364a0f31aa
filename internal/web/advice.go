package web

import (
	"time"

	"bluez-esphome/internal/advice"
	"bluez-esphome/internal/ble"
)

// Bounds of the advice.
const (
	adviceAge = 2 * time.Minute // older signals do not count
	maxLost   = 12              // devices that the advice names for one proxy
)

// survey is the input of package advice: how each proxy hears each device. Its memory is reused.
type survey struct {
	proxies int
	devices []advice.Device
	signals []int8
}

// begin empties the survey: it has these devices, which no proxy hears yet.
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

// row is the part of the survey for one device, to be filled in: a signal in dBm for each proxy, 0 where it is not
// heard.
func (s *survey) row(device int) []int8 { return s.devices[device].RSSI }

// counts reports whether a signal of that age counts for the advice.
func counts(s *ble.Signal, age time.Duration) bool { return age < max(adviceAge, 3*s.Interval) }

// advise makes the advice from the survey: what each proxy is worth, and where another one would help most.
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
