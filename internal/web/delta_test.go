package web

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
)

// delta is an event of the stream as a viewer reads it.
type delta struct {
	Set     map[string]json.RawMessage `json:"set"`
	Numbers [][3]float64               `json:"p"`
	New     []pageDev                  `json:"new"`
	Moved   [][]int64                  `json:"d"`
	Gone    []int64                    `json:"gone"`
}

// stream makes the events of a source, without a hub.
type stream struct {
	t    testing.TB
	view *view
	sent *sentState
}

func newStream(t testing.TB, f *fakeSource) *stream {
	return &stream{t, newView(f, "1"), newSentState()}
}

// event gives the next event, and the snapshot that it was made of. The event is nil if viewers need that whole
// snapshot.
func (s *stream) event(now time.Time) ([]byte, *snapshot) {
	snap := s.view.look(now)
	b := s.sent.update(s.view, snap, now)
	if b == nil {
		return nil, s.sent.whole(s.view, snap, now)
	}
	return b, snap
}

// delta gives the next event, which must be one of changes.
func (s *stream) delta(now time.Time) (d delta) {
	s.t.Helper()
	b, _ := s.event(now)
	line, ok := strings.CutPrefix(string(b), eventBegin)
	line, end := strings.CutSuffix(line, eventEnd)
	if !ok || !end || strings.Contains(line, "\n") {
		s.t.Fatalf("no event: %q", b)
	}
	dec := json.NewDecoder(strings.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		s.t.Fatalf("%v: %s", err, line)
	}
	return d
}

// noisyHouse has 300 devices that all twelve proxies hear each second. step moves each signal by up to 5 dB.
func noisyHouse() (f *fakeSource, step func(now time.Time)) {
	f = houseSource(300)
	f.live = false
	rng := rand.New(rand.NewPCG(1, 2))
	base := map[ble.Address][]int8{}
	for i := range f.devices {
		d := &f.devices[i]
		d.Sources = nil
		for j := range 12 {
			d.Sources = append(d.Sources, ble.Source{Proxy: f.proxies[j].Name, Owner: j == i%12})
			base[d.Address] = append(base[d.Address], int8(-45-(i+7*j)%50))
		}
	}
	return f, func(now time.Time) {
		for i := range f.devices {
			for j := range f.devices[i].Sources {
				s := &f.devices[i].Sources[j]
				s.RSSI, s.LastHeard = base[f.devices[i].Address][j]+int8(rng.IntN(11)-5), now
			}
		}
		for i := range f.proxies {
			f.proxies[i].Adverts += 300
			f.proxies[i].LastHeard = now
		}
	}
}

// TestStreamIsSmall: a viewer of a noisy house gets at most 10 kB a second after the first snapshot, and knows all
// signals in the end. The daemon reuses its memory for that, and therefore has next to no garbage to collect.
func TestStreamIsSmall(t *testing.T) {
	f, pass := noisyHouse()
	now := time.Now()
	s := newStream(t, f)
	const seconds = 60
	second := func() (bytes int) {
		now = now.Add(time.Second)
		pass(now)
		b, _ := s.event(now)
		return len(b)
	}
	for range 5 {
		second()
	}
	total := 0
	for range seconds {
		total += second()
	}
	t.Logf("%d bytes a second", total/seconds)
	if total/seconds > 10_000 {
		t.Errorf("%d bytes a second", total/seconds)
	}
	for _, k := range s.sent.devices {
		for _, sig := range k.signals {
			if sig.tick != s.sent.tick {
				t.Fatalf("of twelve signals one is not known: %+v", k)
			}
		}
	}
	if n := testing.AllocsPerRun(20, func() { second() }); n > maxTickAllocs {
		t.Errorf("%v allocations a second, more than %d", n, maxTickAllocs)
	}
}

// TestDelta: an event tells of the devices that come, go, move or fall silent, and of nothing else.
func TestDelta(t *testing.T) {
	now := time.Now()
	f := &fakeSource{proxies: []Proxy{{Name: "a", State: "online"}, {Name: "b", State: "online"}}}
	dev := func(rssi int8, heard time.Time) []Device {
		return []Device{{Address: 1, Name: "x", LastHeard: heard, Sources: []ble.Source{{Proxy: "a", RSSI: rssi, LastHeard: heard, Owner: true}}}}
	}
	s := newStream(t, f)
	f.devices = dev(-60, now)
	if b, whole := s.event(now); b != nil || len(whole.List) != 1 || whole.List[0].Number != 1 || whole.List[0].Sources[0] != [4]int64{0, -60, 0, 1} {
		t.Errorf("at first: %s, %+v", b, whole)
	}
	step := func(devices []Device, after time.Duration) delta {
		f.devices = devices
		return s.delta(now.Add(after))
	}
	nothing := func(d delta) bool {
		return len(d.New)+len(d.Moved)+len(d.Gone) == 0 && d.Set["proxies"] == nil && d.Set["log"] == nil
	}
	if d := step(dev(-61, now.Add(time.Second)), time.Second); !nothing(d) {
		t.Errorf("1 dB: %+v", d)
	}
	if d := step(dev(-90, now.Add(2*time.Second)), 2*time.Second); !reflect.DeepEqual(d.Moved, [][]int64{{1, 0, -68, 0, 1}}) {
		t.Errorf("29 dB: %+v", d)
	}
	silent := dev(-90, now.Add(2*time.Second))
	if d := step(silent, 42*time.Second); !reflect.DeepEqual(d.Moved, [][]int64{{1, 0, -68, 40_000, 1}}) {
		t.Errorf("silence: %+v", d)
	}
	two := append(dev(-50, now.Add(43*time.Second)), Device{Address: 2, Name: "<y>", Sources: []ble.Source{{Proxy: "b", RSSI: 0, LastHeard: now}}})
	if d := step(two, 43*time.Second); len(d.New) != 1 || d.New[0].Number != 2 || d.New[0].Name != "<y>" || d.New[0].Sources[0] != [4]int64{1, 0, 43_000, 0} || len(d.Moved) != 1 {
		t.Errorf("another device: %+v", d)
	}
	two[1].Sources[0].RSSI, two[0].Sources[0].Owner = -70, false
	if d := step(two, 44*time.Second); !reflect.DeepEqual(d.Moved, [][]int64{{1, 0, -60, 1000, 0}, {2, 1, -70, 44_000, 0}}) {
		t.Errorf("another owner, and a strength that was unknown: %+v", d)
	}
	if d := step(two, 45*time.Second); !nothing(d) {
		t.Errorf("the same: %+v", d)
	}
	f.proxies[1].Slots, two[0].LastError = []Slot{{Address: 1, State: "releasing"}, {Address: 2, State: slotConnected}}, "did not answer"
	if d := step(two, 60*time.Second); len(d.New) != 2 || d.New[0].Connected || !d.New[1].Connected || d.New[0].Error != "did not answer" || len(d.Moved) != 0 {
		t.Errorf("connected: %+v", d)
	}
	if d := step([]Device{{Address: 1, Name: "x", LastError: "did not answer"}}, 61*time.Second); len(d.Moved) != 1 || d.Moved[0][3] != -1 || !slices.Equal(d.Gone, []int64{2}) {
		t.Errorf("a source and a device go: %+v", d)
	}
	f.proxies = f.proxies[1:]
	if b, whole := s.event(now.Add(62 * time.Second)); b != nil || len(whole.List) != 1 || whole.List[0].Number != 3 {
		t.Errorf("a proxy goes, and the others have other numbers: %s, %+v", b, whole)
	}
}

// TestLog: the log of connections is read when one of them changed, and every ten seconds since devices may get names.
func TestLog(t *testing.T) {
	now := time.Now()
	f := &fakeSource{proxies: []Proxy{{Name: "a"}}, tried: 1, connects: []Connect{{At: now, Device: 1, Result: "connected"}}}
	s := newStream(t, f)
	s.event(now)
	f.connects = []Connect{{At: now, Device: 1, Name: "lamp", Result: "connected"}}
	if d := s.delta(now.Add(time.Second)); d.Set["log"] != nil {
		t.Errorf("it is made again though nothing is said to have changed: %s", d.Set["log"])
	}
	if d := s.delta(now.Add(12 * time.Second)); !strings.Contains(string(d.Set["log"]), "lamp") {
		t.Errorf("a name: %s", d.Set["log"])
	}
	f.tried, f.connects, f.devices = 2, []Connect{{At: now, Device: 1, Result: "no-answer", Error: "deaf"}}, []Device{{Address: 1, LastError: "deaf"}}
	if d := s.delta(now.Add(13 * time.Second)); !strings.Contains(string(d.Set["log"]), "deaf") || len(d.New) != 1 || d.New[0].Error != "deaf" {
		t.Errorf("an attempt: %+v", d)
	}
}

// TestPast: the past has one hour in steps of ten seconds, 0 for steps in which the device was not heard.
func TestPast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, proxies := newPast(), []string{"a"}
		for i := range 400 {
			now := time.Now()
			if !p.due(now) {
				t.Fatal("not due after a step")
			}
			var list []ble.Heard
			if i%2 == 0 {
				list = []ble.Heard{{Address: 1, Signals: []ble.Signal{{RSSI: int8(-(i%50 + 1)), LastHeard: now}}}}
			}
			p.add(list, proxies, now)
			time.Sleep(pastStep)
		}
		got := p.of(1).Proxies["a"]
		if len(got) != pastSteps || got[pastSteps-1] != 0 || got[pastSteps-2] != -49 || got[0] != -41 || got[1] != 0 {
			t.Errorf("%d: %d … %d %d", len(got), got[0], got[pastSteps-2], got[pastSteps-1])
		}
		time.Sleep(2 * time.Hour)
		p.add(nil, proxies, time.Now())
		p.add(nil, proxies, time.Now().Add(pastStep))
		if len(p.devices) != 0 {
			t.Errorf("%d devices are remembered after two hours", len(p.devices))
		}
		for i := range 2 * maxDevices {
			p.add([]ble.Heard{{Address: ble.Address(i), Signals: []ble.Signal{{RSSI: -1, LastHeard: time.Now()}}}}, proxies, time.Now())
		}
		if len(p.devices) > maxDevices {
			t.Errorf("%d devices", len(p.devices))
		}
	})
}

// TestRates: a rate is right from the first snapshot on if the counter was read before, and unknown otherwise. It is
// never negative.
func TestRates(t *testing.T) {
	r, now := newRates(), time.Now()
	for _, c := range []struct {
		after time.Duration
		count uint64
		want  float64
	}{{0, 100, -1}, {100 * time.Millisecond, 130, -1}, {4 * time.Second, 1300, 300}, {12 * time.Second, 3700, 300}, {15 * time.Second, 4600, 300},
		{16 * time.Second, 5, -1}, {18 * time.Second, 16, 5.5}} {
		if got := r.of("a", c.count, now.Add(c.after)); got != c.want {
			t.Errorf("after %v: %v, want %v", c.after, got, c.want)
		}
	}
}

// TestPastIsBounded: of devices whose addresses change, the newest have a past. A device that is heard keeps its own.
func TestPastIsBounded(t *testing.T) {
	p, now := newPast(), time.Unix(1e9, 0)
	steady := ble.Heard{Address: 1}
	for i := range 3 * maxDevices / 100 {
		now = now.Add(pastStep)
		signals := []ble.Signal{{RSSI: -50, LastHeard: now}}
		steady.Signals = signals
		devices := []ble.Heard{steady}
		for j := range 100 {
			devices = append(devices, ble.Heard{Address: ble.Address(1000 + 100*i + j), Signals: signals})
		}
		p.add(devices, []string{"p"}, now)
		if got := p.of(devices[100].Address).Proxies["p"]; len(got) == 0 || got[pastSteps-1] != -50 {
			t.Fatalf("step %d: a new device has no past", i)
		}
	}
	if len(p.devices) != maxDevices {
		t.Errorf("%d devices are kept", len(p.devices))
	}
	n := 0
	for _, v := range p.of(1).Proxies["p"] {
		if v == -50 {
			n++
		}
	}
	if n != 3*maxDevices/100 {
		t.Errorf("the one that is always heard has %d of %d values", n, 3*maxDevices/100)
	}
}
