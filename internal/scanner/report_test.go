package scanner

import (
	"fmt"
	"slices"
	"testing"

	"bluez-esphome/internal/ble"
)

const (
	p1 = "0416d2fc01"
	p2 = "0416d2fc02"
	p3 = "0416d2fc03"
)

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestNobodyWantsReports(t *testing.T) {
	a := newAir(t, "A")
	a.hear(0, "A", dev, -60, p1)
	if woken(a.Table) || len(a.take()) != 0 {
		t.Error("reported")
	}
	if typ, ok := a.Lookup(dev); !ok || typ != ble.Public || len(a.Paths(dev)) != 1 {
		t.Error("not merged")
	}
}

func TestFirstReportTakesWhatWasHeardTogether(t *testing.T) {
	a := newAir(t, "A")
	a.hear(0, "A", dev, -60, p3) // too old
	a.hear(3, "A", dev, -60, p1)
	a.SetDiscovery(all)
	if woken(a.Table) || len(a.take()) != 0 {
		t.Error("reported from memory")
	}
	a.hear(4.4, "A", dev, -60, p2)
	if !woken(a.Table) {
		t.Error("Changed has no value")
	}
	r := a.take()
	if len(r) != 1 || len(r[0].Payloads) != 2 || r[0].Payloads[0].ServiceData[0].Data[0] != 1 || r[0].Payloads[1] != r[0].Last {
		t.Fatalf("%+v", r)
	}
	if r[0].RSSI != -60 || !r[0].Discovered || r[0].Monitored || !sameTime(r[0].At, a.at(4.4)) {
		t.Errorf("%+v", r[0])
	}

	// A repetition of the only payload is a first report too, and of nothing older.
	a.SetDiscovery(nil)
	a.SetDiscovery(all)
	a.hear(9, "A", dev, -60, p2)
	expect(t, "second discovery", a.payloads(), p2)
	a.hear(10, "A", dev, -60, p2)
	if woken(a.Table); len(a.take()) != 0 {
		t.Error("a repetition was reported")
	}
}

func TestFirstReportTakesItsOwnPayloadOnly(t *testing.T) {
	a := newAir(t, "A")
	a.hear(0, "A", dev, -60, p1)
	a.SetDiscovery(all)
	a.hear(1.6, "A", dev, -60, p2)
	expect(t, "first report", a.payloads(), p2)
}

func TestRepetitionsCountAsHeard(t *testing.T) {
	a := newAir(t, "A")
	a.hear(0, "A", dev, -60, p1)
	a.hear(2.9, "A", dev, -60, p1)
	a.SetDiscovery(all)
	a.hear(3, "A", dev, -60, p2)
	expect(t, "first report", a.payloads(), p1, p2)
}

// A late copy is no occasion to show a device that nobody has seen yet.
func TestFirstReportIsNotAReplay(t *testing.T) {
	a := newAir(t, "A", "B")
	a.hear(0, "A", dev, -60, p1)
	a.hear(1, "A", dev, -60, p2)
	a.SetDiscovery(all)
	a.hear(3, "B", dev, -60, p1)
	expect(t, "late copy", a.payloads())
	a.hear(3.1, "B", dev, -60, p2)
	expect(t, "newest content", a.payloads(), p2)
}

// Whoever expires devices after 30 s has forgotten what it was told.
func TestSilentDeviceIsReportedAnew(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery(all)
	for _, at := range []float64{0, 24, 50} {
		a.hear(at, "A", dev, -60, p1)
		want := []string{p1}
		if at == 24 {
			want = nil
		}
		expect(t, fmt.Sprint("at ", at), a.payloads(), want...)
	}
}

func TestKnownDeviceIsReportedWhoeverHearsItNext(t *testing.T) {
	a := newAir(t, "A", "B")
	a.hear(0, "A", dev, -60, p1)
	a.hear(0, "B", dev, -61, p1)
	a.SetDiscovery(all)
	a.hear(1, "B", dev, -61, p1)
	expect(t, "heard by another than the owner", a.payloads(), p1)
}

func TestRSSIStep(t *testing.T) {
	for _, c := range []struct {
		name   string
		filter ble.DiscoveryFilter
		rssi   []int8
		want   string
	}{
		{"8 dB from what was said last", ble.DiscoveryFilter{}, []int8{-60, -67, -53, -68, -61, -60}, "[-60 -68 -60]"},
		{"slow drift adds up", ble.DiscoveryFilter{}, []int8{-60, -62, -64, -66, -68}, "[-60 -68]"},
		{"unknown is not a move", ble.DiscoveryFilter{}, []int8{-60, 0, -127, 127, -60}, "[-60]"},
		{"unknown at first", ble.DiscoveryFilter{}, []int8{0, 0, -5}, "[0 -5]"},
		{"every one with an RSSI filter", ble.DiscoveryFilter{HasRSSI: true, RSSI: -127}, []int8{-60, -60, -61}, "[-60 -60 -61]"},
		{"every one with a pathloss filter", ble.DiscoveryFilter{HasPathloss: true, Pathloss: 137}, []int8{-60, -60}, "[-60 -60]"},
		{"le alone is filtered but changes nothing", ble.DiscoveryFilter{Transport: ble.TransportLE}, []int8{-60, -60}, "[-60]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAir(t, "A")
			a.SetDiscovery([]ble.DiscoveryFilter{c.filter})
			got := []int8{}
			for i, rssi := range c.rssi {
				a.hear(float64(i), "A", dev, rssi, "020a04")
				for _, r := range a.take() {
					got = append(got, r.RSSI)
				}
			}
			if fmt.Sprint(got) != c.want {
				t.Errorf("reported %v, want %v", got, c.want)
			}
		})
	}
}

// A regular session among filtered ones makes discovery regular (bluetoothd 5.87).
func TestRegularSessionTurnsEveryRSSIOff(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery([]ble.DiscoveryFilter{{HasRSSI: true, RSSI: -50}, {}})
	a.hear(0, "A", dev, -90, p1)
	if r := a.take(); len(r) != 1 || r[0].EveryRSSI {
		t.Errorf("%+v", r)
	}
	a.hear(1, "A", dev, -90, p1)
	if r := a.take(); len(r) != 0 {
		t.Errorf("%+v", r)
	}
}

// A client that begins while others discover or monitor is told once of every device that is heard, even if nothing
// moves: it may be waiting for just that device.
func TestWhoJoinsIsToldOnce(t *testing.T) {
	a := newAir(t, "A")
	say := func(at float64) (rssi []bool) {
		t.Helper()
		a.hear(at, "A", dev, -60, p1)
		for _, r := range a.take() {
			if r.RSSI != -60 {
				t.Errorf("RSSI %d", r.RSSI)
			}
			rssi = append(rssi, r.EveryRSSI)
		}
		return rssi
	}
	for i, c := range []struct {
		what string
		do   func()
		want []bool
	}{
		{"the first session", func() { a.SetDiscovery(all) }, []bool{false}},
		{"no change", func() {}, nil},
		{"a second session", func() { a.SetDiscovery(append(slices.Clone(all), all...)) }, []bool{true}},
		{"no change again", func() {}, nil},
		{"another filter", func() { a.SetDiscovery(append(slices.Clone(all), ble.DiscoveryFilter{Transport: ble.TransportLE})) }, nil},
		{"one leaves", func() { a.SetDiscovery(all) }, nil},
		{"a monitor", func() {
			a.AddMonitor(1, ble.Monitor{Patterns: []ble.MonitorPattern{{Type: 9, Content: []byte("x")}}})
		}, []bool{true}},
		{"only the monitor, which does not match", func() { a.SetDiscovery(nil) }, nil},
		{"a session again", func() { a.SetDiscovery(all) }, []bool{true}},
	} {
		c.do()
		if got := say(float64(i)); !slices.Equal(got, c.want) {
			t.Errorf("%s: reports with EveryRSSI %v, want %v", c.what, got, c.want)
		}
	}
}

func TestRSSIIsTheOwners(t *testing.T) {
	a := newAir(t, "A", "B")
	a.SetDiscovery(all)
	a.hear(0, "A", dev, -60, p1)
	a.take()
	a.hear(0.1, "B", dev, -70, p1)
	if r := a.take(); len(r) != 0 {
		t.Errorf("another proxy's repetition was reported: %+v", r)
	}
	a.hear(1, "B", dev, -71, p2)
	if r := a.take(); len(r) != 1 || r[0].RSSI != -60 || len(r[0].Payloads) != 1 {
		t.Errorf("new content from another proxy: %+v", r)
	}
}

func TestDuplicateData(t *testing.T) {
	a := newAir(t, "A", "B")
	a.SetDiscovery([]ble.DiscoveryFilter{{DuplicateData: true}})
	for i := range 3 {
		a.hear(float64(i), "A", dev, -60, p1)
		a.hear(float64(i)+0.05, "B", dev, -62, p1)
		r := a.take()
		if len(r) != 1 || !r[0].Duplicates || len(r[0].Payloads) != 1 {
			t.Fatalf("advert %d: %+v", i, r)
		}
	}
	// A late copy repeats neither itself nor the newest.
	a.hear(3, "B", dev, -62, p2)
	expect(t, "new content", a.payloads(), p2)
	a.hear(3.1, "A", dev, -60, p1)
	expect(t, "late copy", a.payloads())
	a.hear(3.2, "A", dev, -60, p2)
	expect(t, "the owner's repetition", a.payloads(), p2)
	// With the owner silent others' repetitions count.
	a.hear(5, "B", dev, -62, p2)
	expect(t, "owner silent", a.payloads(), p2)
}

func TestFastRotationLosesNothing(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery(all)
	var want []string
	for i := range maxPending {
		p := fmt.Sprintf("0416d2fc%02x", i)
		want = append(want, p)
		a.hear(float64(i)/10, "A", dev, -60, p)
	}
	a.hear(0.9, "A", dev, -60, want[0]) // again: now the newest
	want = append(want[1:], want[0])
	expect(t, "8 payloads", a.payloads(), want...)

	for i := range maxPending + 2 {
		a.hear(1+float64(i)/10, "A", dev, -60, fmt.Sprintf("0416d2fc%02x", 0x40+i))
	}
	got := a.payloads()
	if len(got) != maxPending || got[0] != "0416d2fc42" || a.Stats().Overrun != 2 {
		t.Errorf("%v, %+v", got, a.Stats())
	}
}

func TestReportsComeInOrderOfFirstChange(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery(all)
	for i, addr := range []ble.Address{3, 1, 2, 3, 1} {
		a.hear(float64(i), "A", addr, -60, fmt.Sprintf("0416d2fc%02x", i))
	}
	var got []ble.Address
	for _, r := range a.take() {
		got = append(got, r.Address)
	}
	if !slices.Equal(got, []ble.Address{3, 1, 2}) {
		t.Errorf("order %v", got)
	}
}

func TestQuietDeviceIsRefreshed(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery(all)
	reports := 0
	for i := range 301 { // 30 s, ten a second
		a.hear(float64(i)/10, "A", dev, -60, p1)
		for _, r := range a.take() {
			reports++
			if (reports == 1) != (len(r.Payloads) == 1) {
				t.Errorf("report %d: %+v", reports, r)
			}
		}
	}
	if reports != 4 {
		t.Errorf("%d reports in 30 s, want 4", reports)
	}
}

func TestEndOfDiscoveryDropsReports(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery(all)
	a.hear(0, "A", dev, -60, p1)
	a.SetDiscovery(nil)
	if r := a.take(); len(r) != 0 {
		t.Errorf("%+v", r)
	}
	a.SetDiscovery(all)
	a.hear(1, "A", dev, -60, p1)
	expect(t, "after the next start", a.payloads(), p1)
}

func TestTakeMayCallBack(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery(all)
	a.hear(0, "A", dev, -60, p1)
	a.hear(0, "A", dev+1, -60, p1)
	n := 0
	a.Take(func(r *ble.Report) {
		n++
		a.Forget(r.Address)
		a.hear(1, "A", r.Address, -60, p2)
	})
	if n != 2 {
		t.Errorf("%d reports, want 2", n)
	}
	expect(t, "what changed meanwhile", a.payloads(), p2, p2)
}

func TestForget(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery(all)
	a.hear(0, "A", dev, -60, p1)
	a.Forget(dev)
	if _, ok := a.Lookup(dev); ok || len(a.Paths(dev)) != 0 || len(a.take()) != 0 {
		t.Error("still known")
	}
	a.hear(0.1, "A", dev, -60, p2)
	expect(t, "heard anew", a.payloads(), p2)
}

// Golden: the beacon sends flags without a discoverable bit and neither name nor services.
func TestConnectable(t *testing.T) {
	for _, c := range []struct {
		name, payload string
		want          bool
	}{
		{"golden main", "02010605030f18f0ff020a040319410307ffffffdeadbeef05160f185701", true},
		{"golden beacon", "0201041aff4c000215000102030405060708090a0b0c0d0e0f00010002c5", false},
		{"no flags", "06ff4c00100100", true},
		{"named", "02010403094142", true},
		{"with services", "02010403030f18", true},
		{"limited discoverable", "020105", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAir(t, "A")
			a.SetDiscovery(all)
			a.hear(0, "A", dev, -60, c.payload)
			if r := a.take(); r[0].Connectable != c.want || a.List()[0].Connectable != c.want {
				t.Errorf("connectable %v", r[0].Connectable)
			}
			a.MarkConnectable(dev)
			if !a.List()[0].Connectable {
				t.Error("not connectable after it was connected")
			}
		})
	}
}
