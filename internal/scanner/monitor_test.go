package scanner

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
)

const (
	golden = "02010605030f18f0ff020a040319410307ffffffdeadbeef05160f185701"
	beacon = "0201041aff4c000215000102030405060708090a0b0c0d0e0f00010002c5"
)

func pattern(start, typ uint8, content ...byte) ble.Monitor {
	return ble.Monitor{Patterns: []ble.MonitorPattern{{Start: start, Type: typ, Content: content}}}
}

func TestMonitorPatterns(t *testing.T) {
	long := make([]byte, 31)
	for _, c := range []struct {
		name    string
		monitor ble.Monitor
		want    bool
	}{
		{"manufacturer with company", pattern(0, 0xff, 0xff, 0xff, 0xde), true},
		{"manufacturer data", pattern(2, 0xff, 0xde, 0xad), true},
		{"other company", pattern(0, 0xff, 0x4c, 0x00), false},
		{"flags", pattern(0, 0x01, 0x06), true},
		{"other flags", pattern(0, 0x01, 0x1a), false},
		{"service data behind its UUID", pattern(0, 0x16, 0x57), true},
		{"service data's UUID", pattern(0, 0x16, 0x0f, 0x18), false},
		{"UUID list", pattern(2, 0x03, 0xf0, 0xff), false},
		{"type that is not there", pattern(0, 0x09, 'G'), false},
		{"up to the last byte", pattern(5, 0xff, 0xef), true},
		{"past the end", pattern(5, 0xff, 0xef, 0x00), false},
		{"start past the end", pattern(30, 0xff, 0xef), false},
		{"longer than any data", ble.Monitor{Patterns: []ble.MonitorPattern{{Type: 0xff, Content: long}}}, false},
		{"one of two", ble.Monitor{Patterns: []ble.MonitorPattern{{Type: 1, Content: []byte{0}}, {Type: 1, Content: []byte{6}}}}, true},
		{"no pattern", ble.Monitor{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAir(t, "A")
			a.AddMonitor(7, c.monitor)
			a.hear(0, "A", dev, -60, golden)
			r := a.take()
			if (len(r) == 1) != c.want {
				t.Fatalf("%+v", r)
			}
			if c.want && (!r[0].Monitored || r[0].Discovered || !slices.Equal(r[0].Events, []ble.MonitorEvent{{Monitor: 7}})) {
				t.Errorf("%+v", r[0])
			}
		})
	}
}

// Recorded from bluetoothd 5.87: without RSSI parameters each advert is DeviceFound.
func TestMonitorWithoutThresholdsFindsEachTime(t *testing.T) {
	a := newAir(t, "A", "B")
	a.AddMonitor(1, pattern(0, 0xff, 0x4c, 0x00))
	a.AddMonitor(2, pattern(0, 0x01, 0x04))
	for i := range 5 {
		a.hear(float64(i)/2, "A", dev, -60, beacon)
		a.hear(float64(i)/2+0.1, "B", dev, -62, beacon) // a copy of it
		r := a.take()
		if len(r) != 1 || !slices.Equal(r[0].Events, []ble.MonitorEvent{{Monitor: 1}, {Monitor: 2}}) ||
			(i == 0) != (len(r[0].Payloads) == 1) {
			t.Fatalf("advert %d: %+v", i, r)
		}
	}
	// Not taken in time, it is still one event.
	a.hear(3, "A", dev, -60, beacon)
	a.hear(3.5, "A", dev, -60, beacon)
	if r := a.take(); len(r) != 1 || len(r[0].Events) != 2 {
		t.Errorf("%+v", r)
	}
	// Another device does not concern it.
	a.hear(4, "A", 1, -60, golden)
	if r := a.take(); len(r) != 0 {
		t.Errorf("%+v", r)
	}
}

// What was heard just before or after the matching part belongs to it.
func TestMonitorTakesTheOtherPartToo(t *testing.T) {
	a := newAir(t, "A")
	a.AddMonitor(1, pattern(0, 0x01, 0x06))
	a.hear(0, "A", dev, -60, "03094142")
	a.hear(0.1, "A", dev, -60, "020106")
	expect(t, "before", a.payloads(), "03094142", "020106")
	a.hear(0.2, "A", dev, -60, "03094344")
	expect(t, "after", a.payloads(), "03094344")
	a.hear(5, "A", dev, -60, "03094546")
	expect(t, "long after", a.payloads())
}

func TestMonitorAndDiscovery(t *testing.T) {
	a := newAir(t, "A")
	a.AddMonitor(1, pattern(0, 0x01, 0x06))
	a.hear(0, "A", dev, -60, "020106")
	a.take()
	a.SetDiscovery(all)
	a.hear(1, "A", dev, -60, "020106")
	if r := a.take(); len(r) != 1 || !r[0].Discovered || !r[0].Monitored || len(r[0].Payloads) != 1 {
		t.Errorf("discovery reports it anew: %+v", r)
	}
	a.SetDiscovery(nil)
	a.hear(1.5, "A", dev, -60, "020106")
	if r := a.take(); len(r) != 1 || r[0].Discovered || !r[0].Monitored || len(r[0].Payloads) != 1 {
		t.Errorf("so does the monitor after discovery: %+v", r)
	}
	a.RemoveMonitor(1)
	a.hear(2, "A", dev, -60, "020106")
	if r := a.take(); len(r) != 0 {
		t.Errorf("%+v", r)
	}
}

// tracker runs a monitor with RSSI parameters on a fake clock.
type tracker struct {
	*air
	began  time.Time
	events []string
}

func newTracker(t *testing.T, monitors ...ble.Monitor) *tracker {
	a := newAir(t, "A", "B")
	for i, m := range monitors {
		m.Tracks = true
		m.Patterns = pattern(0, 0x01, 0x06).Patterns
		a.AddMonitor(uint64(i+1), m)
	}
	tr := &tracker{air: a, began: time.Now()}
	return tr
}

func (tr *tracker) drain() {
	for _, r := range tr.take() {
		for _, e := range r.Events {
			what := "found"
			if e.Lost {
				what = "lost"
			}
			tr.events = append(tr.events, fmt.Sprintf("%v %s %d", time.Since(tr.began), what, e.Monitor))
		}
	}
}

// adverts has a device heard every half second, n times.
func (tr *tracker) adverts(n int, proxy string, rssi int8) {
	for range n {
		tr.Adverts(proxy, time.Now(), []ble.RawAdvert{{Address: dev, RSSI: rssi, Data: []byte{2, 1, 6}}})
		tr.pass(500 * time.Millisecond)
	}
}

// pass lets time pass and takes reports as they come.
func (tr *tracker) pass(d time.Duration) {
	end := time.After(d)
	for {
		tr.drain()
		select {
		case <-tr.Changed():
		case <-end:
			synctest.Wait()
			tr.drain()
			return
		}
	}
}

func TestMonitorTracking(t *testing.T) {
	const s = time.Second
	unset := ble.Monitor{RSSILow: -127, RSSIHigh: -127, LowTimeout: 5 * s, HighTimeout: s}
	band := ble.Monitor{RSSILow: -70, RSSIHigh: -60, LowTimeout: 3 * s, HighTimeout: 2 * s}
	for _, c := range []struct {
		name     string
		monitors []ble.Monitor
		play     func(*tracker)
		want     string
	}{
		{"the recorded scenario: heard, silent for 12 s, heard", []ble.Monitor{unset}, func(tr *tracker) {
			tr.adverts(10, "A", -60) // the last at 4.5 s
			tr.pass(12 * s)
			tr.adverts(6, "A", -60)
		}, "[1s found 1 9.5s lost 1 18s found 1]"},
		{"loud for long enough", []ble.Monitor{band}, func(tr *tracker) { tr.adverts(10, "A", -60) }, "[2s found 1]"},
		{"never loud enough", []ble.Monitor{band}, func(tr *tracker) { tr.adverts(20, "A", -61) }, "[]"},
		{"a dip starts again", []ble.Monitor{band}, func(tr *tracker) {
			tr.adverts(3, "A", -60)
			tr.adverts(1, "A", -61)
			tr.adverts(6, "A", -60)
		}, "[4s found 1]"},
		{"between the thresholds nothing changes", []ble.Monitor{band}, func(tr *tracker) {
			tr.adverts(5, "A", -60)
			tr.adverts(20, "A", -70)
		}, "[2s found 1]"},
		{"weak for long enough", []ble.Monitor{band}, func(tr *tracker) {
			tr.adverts(5, "A", -60)  // to 2 s
			tr.adverts(10, "A", -71) // from 2.5 s
			tr.adverts(6, "A", -60)  // from 7.5 s
		}, "[2s found 1 5.5s lost 1 9.5s found 1]"},
		{"weak, but not for long enough", []ble.Monitor{band}, func(tr *tracker) {
			tr.adverts(5, "A", -60)
			tr.adverts(6, "A", -71)
			tr.adverts(1, "A", -70)
			tr.adverts(6, "A", -71)
		}, "[2s found 1]"},
		{"silence before it was found starts again", []ble.Monitor{band}, func(tr *tracker) {
			tr.adverts(4, "A", -60) // to 1.5 s
			tr.pass(4 * s)
			tr.adverts(6, "A", -60) // from 6 s
		}, "[8s found 1]"},
		{"silent of one proxy is not silent", []ble.Monitor{unset}, func(tr *tracker) {
			tr.adverts(4, "A", -60)
			tr.adverts(40, "B", -70)
		}, "[1s found 1]"},
		{"each monitor has its own time", []ble.Monitor{
			{RSSILow: -127, RSSIHigh: -127, LowTimeout: 300 * s, HighTimeout: s},
			{RSSILow: -127, RSSIHigh: -127, LowTimeout: 2 * s, HighTimeout: s},
			{RSSILow: -127, RSSIHigh: -127, LowTimeout: 7 * s, HighTimeout: s},
		}, func(tr *tracker) {
			tr.adverts(3, "A", -60) // the last at 1 s
			for range 40 {          // the table must not drop the device before
				tr.Adverts("A", time.Now(), []ble.RawAdvert{{Address: neighbour, RSSI: -60}})
				tr.pass(10 * s)
			}
		}, "[1s found 1 1s found 2 1s found 3 3s lost 2 8s lost 3 5m1s lost 1]"},
		{"found anew after the time in which it is dropped from the bus", []ble.Monitor{{RSSILow: -127, RSSIHigh: -127, LowTimeout: 300 * s, HighTimeout: s}}, func(tr *tracker) {
			tr.adverts(4, "A", -60)
			tr.pass(20 * s)
			tr.adverts(1, "A", -60) // at 22 s
			tr.pass(31 * s)
			tr.adverts(4, "A", -60) // from 53.5 s
		}, "[1s found 1 54.5s found 1]"},
		{"a device that is forgotten is not lost", []ble.Monitor{unset}, func(tr *tracker) {
			tr.adverts(4, "A", -60)
			tr.Forget(dev)
			tr.pass(20 * s)
		}, "[1s found 1]"},
		{"a monitor that is gone says nothing", []ble.Monitor{unset, unset}, func(tr *tracker) {
			tr.adverts(4, "A", -60)
			tr.RemoveMonitor(1)
			tr.pass(20 * s)
		}, "[1s found 1 1s found 2 6.5s lost 2]"},
		{"after Close nothing comes", []ble.Monitor{unset}, func(tr *tracker) {
			tr.adverts(4, "A", -60)
			tr.Close()
			tr.pass(20 * s)
		}, "[1s found 1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := newTracker(t, c.monitors...)
				c.play(tr)
				if got := fmt.Sprint(tr.events); got != c.want {
					t.Errorf("got %s\nwant %s", got, c.want)
				}
			})
		})
	}
}

// A report that has only events must not look as if the device had been heard.
func TestLostReportHasEventsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracker(t, ble.Monitor{RSSILow: -127, RSSIHigh: -127, LowTimeout: time.Second, HighTimeout: 0})
		tr.Adverts("A", time.Now(), []ble.RawAdvert{{Address: dev, RSSI: -60, Data: []byte{2, 1, 6}}})
		if r := tr.take(); len(r) != 1 || len(r[0].Events) != 1 {
			t.Fatalf("%+v", r)
		}
		heard := time.Now()
		<-time.After(2 * time.Second)
		synctest.Wait()
		r := tr.take()
		if len(r) != 1 || r[0].Discovered || r[0].Monitored || r[0].Payloads != nil || r[0].Last == nil ||
			!sameTime(r[0].At, heard) || !slices.Equal(r[0].Events, []ble.MonitorEvent{{Monitor: 1, Lost: true}}) {
			t.Errorf("%+v", r)
		}
	})
}
