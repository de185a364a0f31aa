package scanner

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// number16 is the report's payload: flags, and a BTHome packet with a number.
func number16(n int) string { return fmt.Sprintf("0201060616d2fc4000%02x", n) }

// hearAll hears what is written as "A1 B1 A2", step seconds apart, and gives the numbers that were reported.
func hearAll(a *air, heard string, step float64) []int {
	var out []int
	for i, h := range strings.Fields(heard) {
		n := 0
		if _, err := fmt.Sscan(h[1:], &n); err != nil {
			a.t.Fatal(err)
		}
		a.hear(float64(i)*step, h[:1], dev, -60, number16(n))
		for _, p := range a.payloads() {
			if _, err := fmt.Sscanf(p[len(p)-2:], "%x", &n); err != nil {
				a.t.Fatal(err)
			}
			out = append(out, n)
		}
	}
	return out
}

// E1 of the users' reports: a proxy that lags turns time back once at most: when it alone hears something and nothing
// tells yet how far behind it is.
func TestE1LaggardStepsBackOnce(t *testing.T) {
	for _, c := range []struct {
		name, heard string
		want        []int
	}{
		{"as reported", "A1 B1 A2 B2 A4 B3 A5 B4 A6 B5 A7 B6 B7 A8 B8", []int{1, 2, 4, 5, 6, 7, 8}},
		{"it loses and hears alone again and again", "A1 B1 A2 B2 A4 B3 A5 B4 A7 B5 A8 B6 A9 B7 A11 B8 A12 B9 A13 B10 A14 B11 A15 B12",
			[]int{1, 2, 4, 5, 7, 8, 9, 11, 12, 13, 14, 15}},
		{"two that lag, one further", "A1 B1 C1 A2 B2 C1 A4 B3 C2 A5 B4 C3 A6 B5 C4 A7 B6 C5 A8 B7 C6", []int{1, 2, 4, 5, 6, 7, 8}},
		{"it comes to a device that others hear", "A1 A2 A3 B1 A4 B2 A6 B3 A7 B5 A8 B6 A9 B7", []int{1, 2, 3, 4, 6, 7, 8, 9}},
		{"nothing tells that it is late", "A1 A2 A3 A5 B4 A6 B5 A8 B7 A9", []int{1, 2, 3, 5, 4, 6, 8, 9}},
		{"what it says next ends the step back", "A1 A2 A3 A5 B4 B5", []int{1, 2, 3, 5, 4, 5}},
		{"the others' next word ends it", "A1 A2 A3 A5 B4 A5", []int{1, 2, 3, 5, 4}},
		{"the one ahead goes, and the other is the air", "A1 B1 A2 B1 A3 B2 A4 B3 B4 B5 B6 B7", []int{1, 2, 3, 4, 5, 6, 7}},
		{"what it says next, and nobody else", "A1 B1 A2 B2 A4 B3 B4 B4", []int{1, 2, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAir(t, "A", "B", "C")
			a.SetDiscovery(all)
			if got := hearAll(a, c.heard, 0.1); !slices.Equal(got, c.want) {
				t.Errorf("reported %v, want %v", got, c.want)
			}
		})
	}
}

// E2 of the users' reports: a state that one proxy goes on to report is taken when those who reported another one are
// silent for longer than they usually are.
func TestE2StateOfTheQuieterProxy(t *testing.T) {
	const closed, open, third = "0201060616d2fc441100", "0201060616d2fc441101", "0201060616d2fc441102"
	for _, c := range []struct {
		name          string
		interval      float64 // of both, while they hear the same
		pause         float64 // until B goes on
		again         int     // adverts of A with the new state
		back          string  // what B says then
		within, never float64 // s after A's last word: taken in between
	}{
		{"as reported, 0.3 s", 0.3, 0.3, 4, closed, 1.05, 0.3},
		{"as reported, 2 s", 0.3, 2, 4, closed, 2.1, 0.3},
		{"a device that says little", 1, 1, 3, closed, 3, 0.9},
		{"something that nobody said before", 0.3, 0.3, 4, third, 0.31, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAir(t, "A", "B")
			a.SetDiscovery(all)
			at := 0.0
			for range 6 {
				a.hear(at, "A", dev, -60, closed)
				a.hear(at+0.01, "B", dev, -70, closed)
				at += c.interval
			}
			for range c.again {
				a.hear(at, "A", dev, -60, open)
				at += c.interval
			}
			silent := at - c.interval
			a.payloads()
			taken := -1.0
			for at = silent + c.pause; at < silent+8 && taken < 0; at += c.interval {
				a.hear(at, "B", dev, -70, c.back)
				if slices.Contains(a.payloads(), c.back) {
					taken = at - silent
				}
			}
			if taken < c.never || taken > c.within+0.001 {
				t.Errorf("taken %.2f s after the other's last word, want %.2f to %.2f s", taken, c.never, c.within)
			}
			if last := a.List()[0].Last; last == nil || fmt.Sprintf("%x", last.Raw) != c.back {
				t.Errorf("ended with %x", last.Raw)
			}
		})
	}
}

// A state is not taken from a proxy that is known to be late, however silent the others are, before it can be true.
func TestLateStateIsNotTaken(t *testing.T) {
	a := newAir(t, "A", "B")
	a.SetDiscovery(all)
	const lag = 2.0
	for i := range 12 { // B is 2 s behind
		a.hear(float64(i), "A", dev, -60, number16(i))
		if i >= lag {
			a.hear(float64(i)+0.01, "B", dev, -70, number16(i-lag))
		}
	}
	a.payloads()
	for i := range 9 { // A is silent; B says for 2 s what was before the newest
		at := 11.2 + float64(i)*0.2
		a.hear(at, "B", dev, -70, number16(10))
		expect(t, fmt.Sprintf("at %.1f s", at), a.payloads())
	}
}
