package web

import (
	"bytes"
	"encoding/json"
	"time"
)

// What a viewer is sent: first a whole snapshot, then what changed. Signals are smoothed, and one that moved by less
// than rssiStep is not sent, nor is an age within its class: a house in which everybody is heard each second would else
// be sent anew each second.
const (
	smoothing = .25
	rssiStep  = 3.0 // dB
)

// ageClasses are the ages at which a signal is sent again though it did not move: the page shows it as older from then
// on.
var ageClasses = []time.Duration{10 * time.Second, 30 * time.Second, 5 * time.Minute}

func ageClass(ms int64) int {
	for i, c := range ageClasses {
		if ms < c.Milliseconds() {
			return i
		}
	}
	return len(ageClasses)
}

// delta is what changed since the event before.
type delta struct {
	Set map[string]json.RawMessage `json:"set,omitempty"` // keys of the snapshot that changed
	// of each proxy: rate, owned, milliseconds since it was heard
	Numbers [][3]float64 `json:"p,omitempty"`
	New     []pageDev    `json:"new,omitempty"` // devices that are new or whose texts changed
	// Moved are [number of the device, then for each signal: proxy, dBm, milliseconds ago, 1 if it is the owner's]; dBm 0
	// with -1 milliseconds: not heard any more.
	Moved [][]int64 `json:"d,omitempty"`
	Gone  []int64   `json:"gone,omitempty"` // numbers
}

// sentState is what all viewers know. It belongs to the hub's goroutine.
type sentState struct {
	next    int64
	set     map[string]json.RawMessage
	numbers [][3]float64
	devices map[string]*sentDevice // by address
}

type sentDevice struct {
	number  int64
	text    [3]string // what is compared to know that it changed
	sources map[int64]*sentSource
}

type sentSource struct {
	smooth float64
	sent   [4]int64 // as in pageDev.Sources
	class  int
	seen   bool
}

func newSentState() *sentState {
	return &sentState{set: map[string]json.RawMessage{}, devices: map[string]*sentDevice{}}
}

// update takes a snapshot, in which it numbers the devices and puts the values that viewers know, and gives what
// changed.
func (st *sentState) update(s *snapshot) *delta {
	d := &delta{Set: map[string]json.RawMessage{}}
	here := map[string]bool{}
	for i := range s.List {
		dev := &s.List[i]
		here[dev.Address] = true
		st.device(dev, d)
	}
	for a, k := range st.devices {
		if !here[a] {
			d.Gone = append(d.Gone, k.number)
			delete(st.devices, a)
		}
	}
	numbers := make([][3]float64, len(s.Proxies))
	for i, p := range s.Proxies {
		heard := float64(p.Heard)
		if p.Heard >= 0 && ageClass(p.Heard) == 0 {
			heard = 0
		}
		numbers[i] = [3]float64{p.Rate, float64(p.Owned), heard}
	}
	if !equalNumbers(numbers, st.numbers) {
		d.Numbers, st.numbers = numbers, numbers
	}
	for key, v := range s.slow() {
		b, err := json.Marshal(v)
		if err != nil {
			continue // there is nothing in it that cannot be encoded
		}
		if !bytes.Equal(b, st.set[key]) {
			st.set[key], d.Set[key] = b, b
		}
	}
	return d
}

func equalNumbers(a, b [][3]float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// slow is what of a snapshot is compared as a whole.
func (s *snapshot) slow() map[string]any {
	proxies := make([]pageProxy, len(s.Proxies))
	for i, p := range s.Proxies {
		p.Rate, p.Owned, p.Heard, p.Adverts = 0, 0, 0, 0
		proxies[i] = p
	}
	return map[string]any{
		"version": s.Version, "devices": s.Devices, "switches": s.Switches, "rate": s.Rate, "notReady": s.Ready, "remarks": s.Remarks,
		"log": s.Log, "advice": s.Advice, "proxies": proxies, "controllers": s.Controllers,
	}
}

// device compares one device.
func (st *sentState) device(dev *pageDev, d *delta) {
	k := st.devices[dev.Address]
	texts := [3]string{dev.Name, dev.Error, ""}
	if dev.Connected {
		texts[2] = "connected"
	}
	fresh := k == nil || k.text != texts
	if k == nil {
		st.next++
		k = &sentDevice{number: st.next, sources: map[int64]*sentSource{}}
		st.devices[dev.Address] = k
	}
	k.text, dev.Number = texts, k.number
	moved := []int64{k.number}
	for _, src := range k.sources {
		src.seen = false
	}
	for i := range dev.Sources {
		v := &dev.Sources[i]
		src := k.sources[v[0]]
		class := ageClass(v[2])
		switch {
		case src == nil:
			src = &sentSource{smooth: float64(v[1]), sent: *v, class: class}
			k.sources[v[0]] = src
			moved = append(moved, v[:]...)
		default:
			if class == 0 {
				src.smooth += smoothing * (float64(v[1]) - src.smooth)
			}
			now := [4]int64{v[0], int64(src.smooth - .5), v[2], v[3]}
			if off := src.smooth - float64(src.sent[1]); off >= rssiStep || off <= -rssiStep || class != src.class || v[3] != src.sent[3] || v[1] == 0 {
				if now != src.sent {
					moved = append(moved, now[:]...)
				}
				src.sent, src.class = now, class
			}
		}
		src.seen = true
		age := v[2]
		*v = src.sent
		v[2] = age
	}
	for p, src := range k.sources {
		if !src.seen {
			delete(k.sources, p)
			moved = append(moved, p, 0, -1, 0)
		}
	}
	switch {
	case fresh:
		d.New = append(d.New, *dev)
	case len(moved) > 1:
		d.Moved = append(d.Moved, moved)
	}
}
