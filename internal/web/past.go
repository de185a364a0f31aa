package web

import (
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
)

// The past of signals has one byte for each step, proxy and device, for an hour. It takes at most maxDevices ×
// maxPastProxies × pastSteps = 2.9 MB.
const (
	pastStep       = 10 * time.Second
	pastSteps      = int(time.Hour / pastStep)
	maxPastProxies = 16 // of a device
)

// past keeps what each proxy heard of each device. It is goroutine-safe.
type past struct {
	mu      lockorder.Mutex[lockorder.Leaf]
	step    int64 // the newest, in steps since 1970
	devices map[ble.Address]map[string]*track
}

// track is the past of one device at one proxy: a ring of dBm, 0 where the proxy did not hear it.
type track struct {
	ring  [pastSteps]int8
	heard int64 // the newest step with a value
}

func newPast() *past { return &past{devices: map[ble.Address]map[string]*track{}} }

// due reports whether it is time for another step.
func (p *past) due(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.UnixNano()/int64(pastStep) > p.step
}

// add notes what is heard now. The proxy of a signal is its place in proxies.
func (p *past) add(devices []ble.Heard, proxies []string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	step := now.UnixNano() / int64(pastStep)
	skipped := min(step-p.step, int64(pastSteps))
	p.step = step
	for a, tracks := range p.devices {
		for name, t := range tracks {
			for i := range skipped { // the values there are an hour old
				t.ring[(step-i)%int64(pastSteps)] = 0
			}
			if step-t.heard >= int64(pastSteps) {
				delete(tracks, name)
			}
		}
		if len(tracks) == 0 {
			delete(p.devices, a)
		}
	}
	// Known devices come first: a new device must not take the place of one that is heard.
	for _, known := range []bool{true, false} {
		for i := range devices {
			if _, there := p.devices[devices[i].Address]; there == known {
				p.note(&devices[i], proxies, step, now)
			}
		}
	}
}

func (p *past) note(d *ble.Heard, proxies []string, step int64, now time.Time) {
	for _, s := range d.Signals {
		if s.RSSI == 0 || now.Sub(s.LastHeard) > pastStep {
			continue
		}
		if t := p.track(d.Address, proxies[s.Proxy]); t != nil {
			t.ring[step%int64(pastSteps)], t.heard = s.RSSI, step
		}
	}
}

// track finds or makes a ring. A new device takes the place of the one that was heard longest ago. It returns nil if
// all devices are heard now, or if the device has rings for as many proxies as are kept.
func (p *past) track(a ble.Address, proxy string) *track {
	tracks := p.devices[a]
	if tracks == nil {
		if len(p.devices) >= maxDevices && !p.forgetOne() {
			return nil
		}
		tracks = map[string]*track{}
		p.devices[a] = tracks
	}
	t := tracks[proxy]
	if t == nil && len(tracks) < maxPastProxies {
		t = &track{}
		tracks[proxy] = t
	}
	return t
}

// forgetOne drops the device that was heard longest ago, unless it is heard now. Without it, private addresses, which
// change every quarter of an hour, would fill all places.
func (p *past) forgetOne() bool {
	oldest, last := ble.Address(0), p.step
	for a, tracks := range p.devices {
		newest := int64(0)
		for _, t := range tracks {
			newest = max(newest, t.heard)
		}
		if newest < last {
			oldest, last = a, newest
		}
	}
	if last == p.step {
		return false
	}
	delete(p.devices, oldest)
	return true
}

// pagePast is the past of one device as the page gets it.
type pagePast struct {
	Step    int               `json:"step"`    // seconds
	Steps   int               `json:"steps"`   // of each list
	Proxies map[string][]int8 `json:"proxies"` // dBm, the oldest first, 0 unheard
}

func (p *past) of(a ble.Address) pagePast {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := pagePast{Step: int(pastStep / time.Second), Steps: pastSteps, Proxies: map[string][]int8{}}
	for name, t := range p.devices[a] {
		list := make([]int8, pastSteps)
		for i := range pastSteps {
			list[i] = t.ring[(p.step+1+int64(i))%int64(pastSteps)]
		}
		out.Proxies[text(name)] = list
	}
	return out
}
