package web

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
)

// TestStreamIsSmall: with 300 devices that twelve proxies hear each second, by up to 5 dB more or less, a viewer gets
// at most 10 kB a second after the first snapshot, and what it knows in the end is what there is.
func TestStreamIsSmall(t *testing.T) {
	f := houseSource(300)
	rng := rand.New(rand.NewPCG(1, 2))
	base := map[ble.Address][]int8{}
	for i := range f.devices {
		d := &f.devices[i]
		d.Sources = nil
		for j := range 12 {
			d.Sources = append(d.Sources, ble.Source{Proxy: f.proxies[j].Name, LastHeard: time.Now(), Owner: j == i%12})
			base[d.Address] = append(base[d.Address], int8(-45-(i+7*j)%50))
		}
	}
	st, now, rates := newSentState(), time.Now(), newRates()
	total, worst := 0, 0
	const seconds = 60
	for range seconds + 5 {
		now = now.Add(time.Second)
		for i := range f.devices {
			for j := range f.devices[i].Sources {
				s := &f.devices[i].Sources[j]
				s.RSSI, s.LastHeard = base[f.devices[i].Address][j]+int8(rng.IntN(11)-5), now
			}
		}
		f.live = false
		for i := range f.proxies {
			f.proxies[i].Adverts += 300
			f.proxies[i].LastHeard = now
		}
		n := len(encode(st.update(take(f, "1", now, rates))))
		total, worst = total+n, max(worst, n)
	}
	first := len(encode(st.update(take(f, "1", now, rates))))
	t.Logf("%d bytes/s on average, the first %d, the last %d", (total-worst)/seconds, worst, first)
	if perSecond := (total - worst) / seconds; perSecond > 10_000 {
		t.Errorf("%d bytes a second", perSecond)
	}
	for _, k := range st.devices {
		if len(k.sources) != 12 {
			t.Fatalf("%d sources are known", len(k.sources))
		}
	}
}

// TestDelta: what moves, comes, goes and falls silent is sent, and nothing else.
func TestDelta(t *testing.T) {
	now := time.Now()
	f := &fakeSource{proxies: []Proxy{{Name: "a", State: "online"}, {Name: "b", State: "online"}}}
	dev := func(rssi int8, heard time.Time) []Device {
		return []Device{{Address: 1, Name: "x", LastHeard: heard, Sources: []ble.Source{{Proxy: "a", RSSI: rssi, LastHeard: heard, Owner: true}}}}
	}
	st, rates := newSentState(), newRates()
	step := func(devices []Device, at time.Time) *delta {
		f.devices = devices
		return st.update(take(f, "1", at, rates))
	}
	if d := step(dev(-60, now), now); len(d.New) != 1 || d.Set["proxies"] == nil {
		t.Errorf("at first: %+v", d)
	}
	if d := step(dev(-61, now), now.Add(time.Second)); len(d.New)+len(d.Moved)+len(d.Gone) != 0 || d.Set["proxies"] != nil {
		t.Errorf("1 dB: %+v", d)
	}
	if d := step(dev(-90, now), now.Add(2*time.Second)); len(d.Moved) != 1 || d.Moved[0][1] != 0 || d.Moved[0][2] > -66 {
		t.Errorf("29 dB: %+v", d)
	}
	if d := step(dev(-90, now), now.Add(40*time.Second)); len(d.Moved) != 1 || d.Moved[0][3] != 40_000 {
		t.Errorf("silence: %+v", d)
	}
	if d := step([]Device{{Address: 1, Name: "x"}}, now.Add(41*time.Second)); len(d.Moved) != 1 || d.Moved[0][3] != -1 {
		t.Errorf("a source goes: %+v", d)
	}
	if d := step(nil, now.Add(42*time.Second)); len(d.Gone) != 1 {
		t.Errorf("the device goes: %+v", d)
	}
	if b, err := json.Marshal(st.set); err != nil || len(b) == 0 {
		t.Error(err)
	}
}

// TestPast: an hour is kept, in steps of ten seconds, and no more; what was not heard is 0.
func TestPast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPast()
		for i := range 400 {
			now := time.Now()
			if !p.due(now) {
				t.Fatal("not due after a step")
			}
			var list []Device
			if i%2 == 0 {
				list = []Device{{Address: 1, Sources: []ble.Source{{Proxy: "a", RSSI: int8(-(i%50 + 1)), LastHeard: now}}}}
			}
			p.add(list, now)
			time.Sleep(pastStep)
		}
		got := p.of(1).Proxies["a"]
		if len(got) != pastSteps || got[pastSteps-1] != 0 || got[pastSteps-2] != -49 || got[0] != -41 || got[1] != 0 {
			t.Errorf("%d: %d … %d %d", len(got), got[0], got[pastSteps-2], got[pastSteps-1])
		}
		time.Sleep(2 * time.Hour)
		p.add(nil, time.Now())
		p.add(nil, time.Now().Add(pastStep))
		if len(p.devices) != 0 {
			t.Errorf("%d devices are remembered after two hours", len(p.devices))
		}
		for i := range 2 * maxDevices {
			p.add([]Device{{Address: ble.Address(i), Sources: []ble.Source{{Proxy: "a", RSSI: -1, LastHeard: time.Now()}}}}, time.Now())
		}
		if len(p.devices) > maxDevices {
			t.Errorf("%d devices", len(p.devices))
		}
	})
}

// TestRates: they are right from the first snapshot on if the counters were looked at before, unknown else, and never
// negative.
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

// TestPastIsBounded: of devices whose addresses change the newest have a past, and none that is heard loses its own.
func TestPastIsBounded(t *testing.T) {
	p, now := newPast(), time.Unix(1e9, 0)
	steady := Device{Address: 1}
	for i := range 3 * maxDevices / 100 {
		now = now.Add(pastStep)
		source := []ble.Source{{Proxy: "p", RSSI: -50, LastHeard: now}}
		steady.Sources = source
		devices := []Device{steady}
		for j := range 100 {
			devices = append(devices, Device{Address: ble.Address(1000 + 100*i + j), Sources: source})
		}
		p.add(devices, now)
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
