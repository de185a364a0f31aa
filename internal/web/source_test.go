package web

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"bluez-esphome/internal/ble"
)

// Device is one device as the proxies hear it, by their names.
type Device struct {
	Address   ble.Address
	Name      string
	LastHeard time.Time
	LastError string
	Sources   []ble.Source
}

// fakeSource is a Source that gives what a test puts into it.
type fakeSource struct {
	mu       sync.Mutex
	proxies  []Proxy
	devices  []Device
	connects []Connect
	tried    uint64 // grows with connects
	began    time.Time
	live     bool // every device is heard at the time of each call
	details  map[ble.Address]Detail
	air      Air
	stream   *Stream // nil: one that is connected; without a state there is none
	health   error
	ready    error
	asked    int // calls of Devices
}

func (f *fakeSource) Proxies() []Proxy {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.live {
		f.proxies = slices.Clone(f.proxies)
		for i := range f.proxies {
			f.proxies[i].Adverts = uint64(time.Since(f.began).Milliseconds())
		}
	}
	return f.proxies
}

func (f *fakeSource) Stream() (Stream, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stream != nil {
		return *f.stream, f.stream.State != ""
	}
	return Stream{Connected: true, State: "connected", Broker: "mqtt://broker:1883", Topic: "home/" + hostile[0], Sessions: 2, Published: 1000,
		Dropped: 3, Refused: 1, Queued: 7, Bytes: 400_000}, true
}

func (f *fakeSource) Shares() []Share {
	return []Share{{Name: "kitchen-shared", Hosts: 2, Links: 1, Batches: 90, Dropped: 4}, {Name: hostile[0]}}
}

func (f *fakeSource) Controllers() []Controller {
	return []Controller{
		{Name: "vhci", Address: 0x02e550000001, Host: "the kernel", Since: time.Now().Add(-130 * time.Second), Scanning: true, Links: 1, Connecting: true, Reports: 50, Dropped: 6},
		{Name: hostile[0], Lost: 1},
	}
}

func (f *fakeSource) Connects(n int) []Connect {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.connects[:min(n, len(f.connects))]
}

func (f *fakeSource) Remarks() []string { return []string{"the file on disk has mistakes"} }

func (f *fakeSource) Detail(a ble.Address) (Detail, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.details[a]
	return d, ok
}

func (f *fakeSource) Outcomes() Outcomes {
	return Outcomes{Connects: map[string]uint64{"connected": 3, "no-answer": 2}, Ends: map[string]uint64{"fell-silent": 1}, ValuesLost: 9}
}

func (f *fakeSource) Troubles() map[ble.Address]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[ble.Address]string{}
	for _, d := range f.devices {
		if d.LastError != "" {
			out[d.Address] = d.LastError
		}
	}
	return out
}

func (f *fakeSource) Tried() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tried
}

func (f *fakeSource) Devices(out []ble.Heard, n int, proxies []Proxy) []ble.Heard {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.live {
		now := time.Now()
		for i := range f.devices {
			f.devices[i].LastHeard = now
			for j := range f.devices[i].Sources {
				f.devices[i].Sources[j].LastHeard = now
			}
		}
	}
	numbers := map[string]int{}
	for i, p := range proxies {
		if _, ok := numbers[p.Name]; !ok {
			numbers[p.Name] = i
		}
	}
	for _, d := range f.devices[:min(n, len(f.devices))] {
		if len(out) < cap(out) {
			out = out[:len(out)+1]
		} else {
			out = append(out, ble.Heard{})
		}
		h := &out[len(out)-1]
		h.Address, h.Name, h.LastHeard, h.Signals = d.Address, d.Name, d.LastHeard, h.Signals[:0]
		for _, s := range d.Sources {
			if i, ok := numbers[s.Proxy]; ok {
				h.Signals = append(h.Signals, ble.Signal{Proxy: i, RSSI: s.RSSI, Owner: s.Owner, LastHeard: s.LastHeard, Interval: s.Interval})
			}
		}
	}
	return out
}

func (f *fakeSource) Air() Air {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.air
}

func (f *fakeSource) Healthy(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.health
}
func (f *fakeSource) Ready() error { f.mu.Lock(); defer f.mu.Unlock(); return f.ready }

var errTest = errors.New("not at work")

// hostile are names that do harm where they are trusted.
var hostile = []string{
	`<script>window.hurt=1</script>`,
	`<img src=x onerror=window.hurt=1>`,
	`"><svg onload=window.hurt=1>`,
	"\u202egnp.exe\u2066", "a\x00b\x1b[2Jc\nd\r", "\xff\xfe broken", "</td></table>", "${window.hurt=1}",
	"{{7*7}}", "javascript:window.hurt=1", "\u2028\u2029", "' or 1=1 --", "proxy\",state=\"x",
}

// hostileSource has two proxies and a device for each hostile name.
func hostileSource() *fakeSource {
	now := time.Now()
	f := &fakeSource{
		proxies: []Proxy{
			{Name: "kitchen", Host: "10.0.0.1:6053", State: "online", Version: hostile[1], SlotsKnown: true, SlotLimit: 3, SlotFree: 1,
				Slots: []Slot{{Address: 1, Name: hostile[0], State: "connected", Owners: []string{"D-Bus", hostile[3]}}}, Adverts: 1234, Read: 99, Written: 7, Sessions: 3, Failures: 2, LastHeard: now},
			{Name: hostile[0], Host: "10.0.0.2:6053", State: "auth-failed", LastError: hostile[2]},
			{Name: "kitchen", Host: "10.0.0.3:6053", State: "offline"},
		},
		air: Air{Devices: len(hostile), Adverts: 77, Switches: 5},
	}
	for i, n := range hostile {
		f.devices = append(f.devices, Device{Address: ble.Address(i + 1), Name: n, LastHeard: now,
			Sources: []ble.Source{{Proxy: "kitchen", RSSI: -60, LastHeard: now, Owner: true}, {Proxy: hostile[0], RSSI: -70, LastHeard: now}, {Proxy: "gone", RSSI: -1}}})
	}
	return f
}
