package scanner

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/ble"
)

func TestProxyGoesAndComes(t *testing.T) {
	a := newAir(t, "A", "B")
	a.hear(0, "A", dev, -50, p1)
	a.hear(0, "B", dev, -60, p1)
	a.ProxyDown("A")
	if a.owner(dev) != "" || len(a.Paths(dev)) != 1 {
		t.Errorf("owner %q, paths %v", a.owner(dev), a.Paths(dev))
	}
	a.hear(0.5, "A", dev, -50, p1)
	if s := a.Stats(); s.Late != 1 || s.Adverts != 2 {
		t.Errorf("an advert of a proxy that is gone was taken: %+v", s)
	}
	a.hear(1, "B", dev, -60, p1)
	if a.owner(dev) != "B" {
		t.Errorf("owner %q", a.owner(dev))
	}
	a.ProxyUp("A")
	a.hear(2, "A", dev, -50, p1)
	if a.owner(dev) != "B" || len(a.Paths(dev)) != 2 {
		t.Errorf("owner %q, paths %v", a.owner(dev), a.Paths(dev))
	}
	a.ProxyDown("nobody")
	a.PauseProxy("nobody")
	a.ResumeProxy("nobody")
	a.hear(3, "nobody", dev, -50, p1)
	if s := a.Stats(); s.Late != 2 {
		t.Errorf("%+v", s)
	}
	want := []ProxyInfo{{Name: "A", Up: true, Adverts: 2, LastHeard: a.at(2)}, {Name: "B", Up: true, Adverts: 2, LastHeard: a.at(1), Owned: 1}}
	if d := cmp.Diff(want, a.Proxies(), cmp.Comparer(sameTime)); d != "" {
		t.Error(d)
	}
}

func TestDeafProxyLosesItsDevices(t *testing.T) {
	a := newAir(t, "A", "B")
	a.hear(0, "A", dev, -50, p1)
	a.hear(90, "B", dev, -65, p1)
	if a.owner(dev) != "A" {
		t.Error("lost too early")
	}
	a.hear(91, "B", dev, -65, p1)
	if a.owner(dev) != "B" {
		t.Error("kept by a proxy that hears nothing")
	}
}

// Ours: before an interval is learned it is estimated, so that a device that moved
// away is not kept by its old owner for 15 minutes.
func TestStalenessIsEstimated(t *testing.T) {
	for _, c := range []struct {
		name         string
		ownerAdverts int
		took         float64
	}{
		// 30 s x 2.5 for a strong owner.
		{"from four adverts of the owner", 4, 76},
		{"from what the other proxy learned", 1, 76},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAir(t, "A", "B")
			for i := range c.ownerAdverts {
				a.hear(float64(i-c.ownerAdverts+1), "A", dev, -50, p1)
			}
			for i := 1; i <= 200; i++ {
				a.hear(float64(i), "A", neighbour, -50, p1)
				a.hear(float64(i), "B", dev, -60, p1)
				if a.owner(dev) == "B" {
					if float64(i) != c.took {
						t.Errorf("took %d s, want %v", i, c.took)
					}
					return
				}
			}
			t.Error("never")
		})
	}
}

func TestIntervalIsLearnedAnewAfterAPause(t *testing.T) {
	a := newAir(t, "A")
	a.start = time.Now().Add(-time.Minute)
	interval := func() time.Duration { return a.Sources(dev)[0].Interval }
	a.proxies["A"].resumed = 0
	for i := range 10 {
		a.hear(float64(i), "A", dev, -60, p1)
	}
	a.PauseProxy("A")
	if !a.Paths(dev)[0].Paused {
		t.Error("not paused")
	}
	a.ResumeProxy("A")
	for i := range 15 {
		a.hear(100+float64(i), "A", dev, -60, p1)
	}
	if interval() != 0 {
		t.Errorf("learned %v across the pause", interval())
	}
	a.hear(115, "A", dev, -60, p1)
	if interval() != time.Second {
		t.Errorf("learned %v, want 1s", interval())
	}
}

func TestTableIsBounded(t *testing.T) {
	var log strings.Builder
	a := newAir(t)
	a.Table = New(Config{MaxDevices: 10, Logger: logTo(&log)})
	a.ProxyUp("A")
	a.SetDiscovery(all)
	a.Keep(1, true)
	for i := range 1000 {
		a.hear(float64(i)/1000, "A", ble.Address(i), -60, p1)
	}
	if s := a.Stats(); s.Devices != 10 || s.Evicted != 990 {
		t.Errorf("%+v", s)
	}
	if _, ok := a.Lookup(1); !ok {
		t.Error("a kept device was dropped")
	}
	if len(a.queue) > 200 {
		t.Errorf("the queue holds %d devices", len(a.queue))
	}
	if r := a.take(); len(r) != 10 {
		t.Errorf("%d reports, want 10", len(r))
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("said %d times that the table is full", n)
	}
	a.Keep(1, false)
	a.hear(2, "A", 5000, -60, p1)
	if _, ok := a.Lookup(1); ok {
		t.Error("a device that is no longer kept stayed")
	}
}

func TestWhoWasHeardLongestAgoGoes(t *testing.T) {
	a := newAir(t)
	a.Table = New(Config{MaxDevices: 3})
	a.ProxyUp("A")
	for i, addr := range []ble.Address{1, 2, 3, 1, 4, 2} { // 4 drops 2, then 2 drops 3
		a.hear(float64(i), "A", addr, -60, p1)
	}
	var got []ble.Address
	for _, d := range a.List() {
		got = append(got, d.Address)
	}
	if !slices.Equal(got, []ble.Address{1, 2, 4}) {
		t.Errorf("left %v", got)
	}
}

func TestSilentDevicesExpire(t *testing.T) {
	a := newAir(t, "A")
	a.Keep(2, true)
	for i := range 17 {
		a.hear(float64(i)*100, "A", 3, -60, p1) // every 100 s: may be silent for 262 s
	}
	a.hear(1600, "A", 1, -60, p1)
	a.hear(1600, "A", 2, -60, p1)
	left := func(at float64) string {
		a.hear(at, "A", neighbour, -60, p1)
		var got []ble.Address
		for _, addr := range []ble.Address{1, 2, 3} {
			if _, ok := a.Lookup(addr); ok {
				got = append(got, addr)
			}
		}
		return fmt.Sprint(len(got), got)
	}
	for _, c := range []struct {
		at   float64
		want string
	}{
		{1795, fmt.Sprint(3, []ble.Address{1, 2, 3})},
		{1806, fmt.Sprint(2, []ble.Address{2, 3})},
		{1861, fmt.Sprint(2, []ble.Address{2, 3})},
		{1873, fmt.Sprint(1, []ble.Address{2})},
	} {
		if got := left(c.at); got != c.want {
			t.Errorf("at %v: %s, want %s", c.at, got, c.want)
		}
	}
	if s := a.Stats(); s.Expired != 2 {
		t.Errorf("%+v", s)
	}
}

func TestOversizedAdvertsAreDropped(t *testing.T) {
	a := newAir(t, "A")
	a.hear(0, "A", dev, -60, strings.Repeat("00", maxPayload+1))
	if s := a.Stats(); s.Oversized != 1 || s.Devices != 0 {
		t.Errorf("%+v", s)
	}
	a.hear(0, "A", dev, -60, strings.Repeat("00", maxPayload))
	if s := a.Stats(); s.Devices != 1 {
		t.Errorf("%+v", s)
	}
}

func TestAddressType(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery(all)
	a.Adverts("A", a.at(0), []ble.RawAdvert{{Address: dev, Type: ble.RandomIdentity, RSSI: -60}})
	if typ, ok := a.Lookup(dev); !ok || typ != ble.RandomIdentity {
		t.Errorf("%v, %v", typ, ok)
	}
	if r := a.take(); len(r) != 1 || r[0].Type != ble.RandomIdentity || r[0].Last == nil {
		t.Errorf("%+v", r)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(*air)
	}{
		{"nobody wants anything", func(*air) {}},
		{"regular discovery", func(a *air) { a.SetDiscovery(all) }},
		{"filters that don't match", func(a *air) {
			a.SetDiscovery([]ble.DiscoveryFilter{{UUIDs: []ble.UUID{ble.UUID16(1)}, HasPattern: true, Pattern: "zz"},
				{HasPattern: true, Pattern: "00", HasPathloss: true, Pathloss: 3}})
		}},
		{"monitors that don't match", func(a *air) { a.AddMonitor(1, pattern(0, 0xff, 1, 2)) }},
		{"a monitor that tracks", func(a *air) {
			m := pattern(0, 0x01, 0x06)
			m.Tracks, m.RSSILow, m.RSSIHigh, m.LowTimeout, m.HighTimeout = true, -127, 0, time.Hour, time.Second
			a.AddMonitor(1, m)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAir(t, "A", "B")
			c.setup(a)
			batch := make([]ble.RawAdvert, 16)
			data := []byte{2, 1, 6, 3, 3, 0x0f, 0x18, 3, 9, 'A', 'B'}
			for i := range batch {
				batch[i] = ble.RawAdvert{Address: ble.Address(i), RSSI: -60, Data: data}
			}
			at := a.at(0)
			a.Adverts("A", at, batch)
			a.Adverts("B", at, batch)
			a.take()
			if allocs := testing.AllocsPerRun(100, func() {
				at = at.Add(10 * time.Millisecond)
				a.Adverts("A", at, batch)
				a.Adverts("B", at, batch)
			}); allocs != 0 {
				t.Errorf("%v allocations for 32 adverts", allocs)
			}
		})
	}
}

// What nobody wants to know is neither parsed nor kept in new memory.
func TestNewContentDoesNotAllocate(t *testing.T) {
	a := newAir(t, "A", "B")
	data := []byte{2, 1, 6, 5, 0x16, 0xd2, 0xfc, 0, 0, 4, 9, 'A', 'B', 'C'}
	batch := []ble.RawAdvert{{Address: dev, RSSI: -60, Data: data}}
	at, n := a.at(0), uint16(0)
	change := func() {
		n++
		at = at.Add(10 * time.Millisecond)
		binary.BigEndian.PutUint16(data[7:], n)
		a.Adverts("A", at, batch)
		a.Adverts("B", at, batch)
	}
	for range 2 * maxLog {
		change()
	}
	if allocs := testing.AllocsPerRun(200, change); allocs != 0 {
		t.Errorf("%v allocations for new content", allocs)
	}
	if s := a.Stats(); s.Novel != uint64(n) || a.devices[dev].name != "ABC" {
		t.Errorf("%+v, name %q", s, a.devices[dev].name)
	}
	if d, _ := a.Device(dev); !bytes.Equal(d.Last.Raw, data) {
		t.Errorf("the newest payload is %x, want %x", d.Last.Raw, data)
	}
}

// All methods at once, for the race detector; the table stays consistent.
func TestConcurrentUse(t *testing.T) {
	a := newAir(t, "A", "B", "C")
	var wg sync.WaitGroup
	run := func(f func(i int)) {
		wg.Go(func() {
			for i := range 300 {
				f(i)
			}
		})
	}
	for _, p := range []string{"A", "B", "C"} {
		run(func(i int) {
			a.Adverts(p, time.Now(), []ble.RawAdvert{{Address: ble.Address(i % 20), RSSI: -60, Data: []byte{2, 1, byte(i)}}})
		})
	}
	run(func(i int) { a.SetDiscovery(make([]ble.DiscoveryFilter, i%3)) })
	run(func(i int) {
		m := pattern(0, 1, byte(i))
		m.Tracks = i%2 == 0
		a.AddMonitor(uint64(i%4), m)
		a.RemoveMonitor(uint64((i + 2) % 4))
	})
	run(func(i int) { a.Take(func(r *ble.Report) { a.Sources(r.Address) }) })
	run(func(i int) { a.Forget(ble.Address(i % 20)); a.Keep(ble.Address(i%20), i%2 == 0) })
	run(func(i int) { a.PauseProxy("A"); a.ResumeProxy("A"); a.ProxyDown("B"); a.ProxyUp("B") })
	run(func(i int) { a.List(); a.Stats(); a.Proxies(); a.Paths(ble.Address(i % 20)); a.MarkConnectable(1) })
	wg.Wait()
	a.take()
	n := 0
	for d := a.lru.next; d != &a.lru; d = d.next {
		n++
	}
	if n != len(a.devices) || len(a.queue) != 0 {
		t.Errorf("%d devices in order, %d in all, %d in the queue", n, len(a.devices), len(a.queue))
	}
}

func BenchmarkAdverts(b *testing.B) {
	a := newAir(b, "A")
	a.SetDiscovery(all)
	batch := make([]ble.RawAdvert, 16)
	data := []byte{2, 1, 6, 3, 3, 0x0f, 0x18, 3, 9, 'A', 'B'}
	for i := range batch {
		batch[i] = ble.RawAdvert{Address: ble.Address(i), RSSI: -60, Data: data}
	}
	at := a.at(0)
	b.ReportAllocs()
	for b.Loop() {
		a.Adverts("A", at, batch)
	}
}
