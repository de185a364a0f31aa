package web

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// A viewer gets a whole snapshot first and the changes after that. Signals are smoothed. One is sent again only if it
// moved by at least rssiStep, if its age enters another class, or if its proxy became the owner or ceased to be it.
// Otherwise each second would send all signals of a house again.
const (
	smoothing = .25
	rssiStep  = 3 // dB
	// steadying smooths signals for the advice. Without it, a device near a limit would change the advice each second.
	steadying = .08
)

// ageClasses are the ages at which a signal is sent again although it did not move: from then on, the page shows it as
// older.
var ageClasses = [...]time.Duration{10 * time.Second, 30 * time.Second, 5 * time.Minute}

func ageClass(age time.Duration) uint8 {
	for i, c := range ageClasses {
		if age < c {
			return uint8(i)
		}
	}
	return uint8(len(ageClasses))
}

// sentState is what the viewers know. It makes the events that tell them of changes, and reuses its memory from one
// second to the next.
type sentState struct {
	number  int64  // of the last new device
	tick    uint32 // counts the updates
	proxies []string
	set     map[string][]byte
	numbers [][3]float64
	devices map[ble.Address]*sentDevice

	scratch bytes.Buffer // of json
	json    *json.Encoder
	moved   []byte    // member d of the next event
	fresh   []pageDev // member new
	gone    []int64   // member gone
}

// sentDevice is what viewers know of a device.
type sentDevice struct {
	number    int64
	tick      uint32
	name      string // raw
	trouble   string
	connected bool
	signals   []sentSignal // by the number of the proxy
}

// sentSignal is what viewers know of a signal.
type sentSignal struct {
	tick   uint32 // 0: it is not heard
	smooth float32
	steady float32 // for the advice
	dBm    int8    // as it was sent; 0 unknown
	class  uint8
	owner  bool
}

func newSentState() *sentState {
	st := &sentState{set: map[string][]byte{}, devices: map[ble.Address]*sentDevice{}}
	st.json = json.NewEncoder(&st.scratch)
	return st
}

// update compares the view with what viewers know, adds the advice to s, and returns the event that tells viewers of
// the changes. It returns nil if the list of proxies changed: then viewers need a whole snapshot.
func (st *sentState) update(v *view, s *snapshot, now time.Time) []byte {
	others := !slices.Equal(v.proxies, st.proxies)
	if others { // a number may mean another proxy now
		st.proxies = slices.Clone(v.proxies)
		clear(st.devices)
	}
	st.tick++
	st.moved, st.fresh, st.gone = st.moved[:0], st.fresh[:0], st.gone[:0]
	v.survey.begin(len(v.proxies), v.devices)
	for i := range v.devices {
		st.device(v, &v.devices[i], v.survey.row(i), now)
	}
	for a, k := range st.devices {
		if k.tick != st.tick {
			st.gone = append(st.gone, k.number)
			delete(st.devices, a)
		}
	}
	s.Advice = v.advise()
	event := st.event(s)
	if others {
		return nil
	}
	return event
}

// device compares one device with what viewers know of it, and writes its signals for the advice into row.
func (st *sentState) device(v *view, h *ble.Heard, row []int8, now time.Time) {
	k := st.devices[h.Address]
	connected, trouble := v.connected[h.Address], v.troubles[h.Address]
	fresh := k == nil || k.name != h.Name || k.trouble != trouble || k.connected != connected
	if k == nil {
		st.number++
		k = &sentDevice{number: st.number, signals: make([]sentSignal, len(v.proxies))}
		st.devices[h.Address] = k
	}
	k.tick, k.name, k.trouble, k.connected = st.tick, h.Name, trouble, connected
	begin := len(st.moved)
	for i := range h.Signals {
		sig := &h.Signals[i]
		src := &k.signals[sig.Proxy]
		age := now.Sub(sig.LastHeard)
		if src.update(sig, ageClass(age)) && !fresh {
			st.move(begin, k, sig.Proxy, src, max(0, age.Milliseconds()))
		}
		src.tick = st.tick
		if counts(sig, age) {
			row[sig.Proxy] = rounded(src.steady)
		}
	}
	for p := range k.signals {
		src := &k.signals[p]
		if src.tick != 0 && src.tick != st.tick {
			*src = sentSignal{}
			if !fresh {
				st.move(begin, k, p, src, -1)
			}
		}
	}
	switch {
	case fresh:
		d := v.device(h, now)
		st.complete(&d, h, now)
		st.fresh = append(st.fresh, d)
	case len(st.moved) > begin:
		st.moved = append(st.moved, ']')
	}
}

// update takes over the present signal, and reports whether viewers must be told of it.
func (src *sentSignal) update(sig *ble.Signal, class uint8) bool {
	switch {
	case src.tick == 0 || (src.dBm == 0) != (sig.RSSI == 0): // new
		src.steady = float32(sig.RSSI)
		src.smooth, src.dBm, src.class, src.owner = float32(sig.RSSI), sig.RSSI, class, sig.Owner
		return true
	case class == 0:
		src.smooth += smoothing * (float32(sig.RSSI) - src.smooth)
		src.steady += steadying * (float32(sig.RSSI) - src.steady)
	}
	if off := src.smooth - float32(src.dBm); off < rssiStep && off > -rssiStep && class == src.class && sig.Owner == src.owner {
		return false
	}
	src.dBm, src.class, src.owner = rounded(src.smooth), class, sig.Owner
	return true
}

func rounded(dBm float32) int8 { return int8(math.Round(float64(dBm))) }

// complete adds the number of a device, and its signals as viewers know them.
func (st *sentState) complete(d *pageDev, h *ble.Heard, now time.Time) {
	k := st.devices[h.Address]
	d.Number = k.number
	for _, sig := range h.Signals {
		src := &k.signals[sig.Proxy]
		d.Sources = append(d.Sources, [4]int64{int64(sig.Proxy), int64(src.dBm), ago(sig.LastHeard, now), int64(one(src.owner))})
	}
}

// whole adds all devices to the snapshot of the last update, as viewers know them from then on.
func (st *sentState) whole(v *view, s *snapshot, now time.Time) *snapshot {
	s.List = make([]pageDev, 0, len(v.devices))
	for i := range v.devices {
		d := v.device(&v.devices[i], now)
		st.complete(&d, &v.devices[i], now)
		s.List = append(s.List, d)
	}
	return s
}
