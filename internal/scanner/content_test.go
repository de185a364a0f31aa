package scanner

import (
	"fmt"
	"math"
	"testing"
)

// step is an advert of a proxy and the payloads that it should have reported.
type step struct {
	at      float64
	proxy   string
	payload string
	want    bool
}

func TestReplaysAndNews(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"new content from any proxy, once", []step{
			{0, "A", p1, true}, {0.1, "B", p1, false}, {1, "B", p2, true}, {1.1, "A", p2, false}}},
		{"a slow proxy repeats old content", []step{
			{0, "A", p1, true}, {1, "A", p2, true}, {2, "B", p1, false}, {2.5, "B", p1, false}, {3, "B", p2, false}}},
		{"a slow proxy far behind", []step{
			{0, "A", p1, true}, {1, "A", p2, true}, {2, "A", p3, true}, {3, "B", p1, false}, {3.1, "B", p2, false},
			{3.2, "B", p3, false}, {3.3, "B", p1, true}}},
		{"back to what it was before", []step{
			{0, "A", p1, true}, {1, "A", p2, true}, {2, "A", p1, true}, {2.1, "A", p2, true}}},
		{"back, with a slow proxy that follows", []step{
			{0, "A", p1, true}, {0.5, "B", p1, false}, {1, "A", p2, true}, {2, "A", p1, true}, {2.5, "B", p2, false},
			{3, "B", p1, false}}},
		{"back, heard by the other proxy only", []step{
			{0, "A", p1, true}, {0.1, "B", p1, false}, {1, "A", p2, true}, {1.1, "B", p2, false}, {2, "B", p1, true}}},
		{"back, heard by the proxy that missed what is newest", []step{
			{0, "A", p1, true}, {0.1, "B", p1, false}, {1, "A", p2, true}, {1.1, "B", p2, false}, {2, "A", p3, true}, {3, "B", p1, true}}},
		{"what a proxy keeps saying wins in the end", []step{
			{0, "A", p1, true}, {1, "B", p2, true}, {2, "A", p1, false}, {4, "A", p1, false}, {5.9, "A", p1, false},
			{6.1, "A", p1, true}, {6.2, "A", p1, false}, {6.3, "B", p2, false}}},
		{"advertisement and scan response in turn", []step{
			{0, "A", p1, true}, {0.1, "A", p2, true}, {0.2, "B", p1, false}, {0.3, "B", p2, false}, {0.4, "A", p1, true},
			{0.5, "A", p2, true}}},
		{"old content after a long time is news", []step{
			{0, "A", p1, true}, {1, "A", p2, true}, {7, "B", p1, true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			playSteps(t, c.steps, 1)
			for n := range uint32(3) {
				playSteps(t, c.steps, math.MaxUint32-n) // the numbers come to their end
			}
		})
	}
}

// playSteps does the steps; the device's first content gets that number.
func playSteps(t *testing.T, steps []step, first uint32) {
	t.Helper()
	a := newAir(t, "A", "B")
	a.SetDiscovery(all)
	for i, s := range steps {
		a.hear(s.at, s.proxy, dev, -60, s.payload)
		if i == 0 {
			d := a.devices[dev]
			d.content.base, d.sent, d.sources.place(0).cursor = first, first, first
		}
		var want []string
		if s.want {
			want = []string{s.payload}
		}
		expect(t, fmt.Sprintf("from number %d, step %d (%s %s)", first, i, s.proxy, s.payload), a.payloads(), want...)
	}
}

// A counter that changes with each advert, and a proxy that lags by two seconds:
// nothing goes back in time.
func TestLaggingProxyOfAFastDevice(t *testing.T) {
	a := newAir(t, "A", "B")
	a.SetDiscovery(all)
	const lag = 20
	payload := func(i int) string { return fmt.Sprintf("0516d2fc%04x", i) }
	for i := range 300 {
		a.hear(float64(i)/10, "A", dev, -60, payload(i))
		expect(t, "leader", a.payloads(), payload(i))
		if i >= lag {
			a.hear(float64(i)/10+0.01, "B", dev, -70, payload(i-lag))
			expect(t, "laggard", a.payloads())
		}
	}
	if n := len(a.devices[dev].content.entries); n > maxLog {
		t.Errorf("%d contents are remembered", n)
	}
	if s := a.Stats(); s.Novel != 300 || s.Replays != 300-lag {
		t.Errorf("%+v", s)
	}
}

// Payloads that come in turn are not parsed again.
func TestRotationIsParsedOnce(t *testing.T) {
	a := newAir(t, "A")
	a.SetDiscovery(all)
	parsed := map[any]bool{}
	for i := range 40 {
		a.hear(float64(i), "A", dev, -60, fmt.Sprintf("0416d2fc%02x", i%4))
		for _, r := range a.take() {
			parsed[r.Last] = true
		}
	}
	if len(parsed) != 4 {
		t.Errorf("parsed %d times, want 4", len(parsed))
	}
}
