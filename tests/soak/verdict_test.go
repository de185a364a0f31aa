package main

import (
	"testing"
	"time"
)

// series makes samples of goroutines every 15 s for an hour.
func series(of func(minute float64, n int) float64) (out []sample) {
	for n := range 240 {
		at := time.Duration(n+1) * sampleEvery
		out = append(out, sample{At: at, Goroutines: of(at.Minutes(), n)})
	}
	return out
}

// TestFlat: noise, outliers and a warm-up are flat, a slow leak is not.
func TestFlat(t *testing.T) {
	l := limits[2]
	if l.name != "goroutines" {
		t.Fatal(l.name)
	}
	for _, tt := range []struct {
		name string
		of   func(minute float64, n int) float64
		ok   bool
	}{
		{"constant", func(float64, int) float64 { return 150 }, true},
		{"noise", func(_ float64, n int) float64 { return 150 + float64(n*7919%11) }, true},
		{"warm-up", func(m float64, _ int) float64 { return 150 + 10*min(m, 10) }, true},
		{"outliers", func(_ float64, n int) float64 {
			if n%10 == 0 || n > 230 {
				return 400
			}
			return 150
		}, true},
		{"falls", func(m float64, _ int) float64 { return 200 - m }, true},
		{"one goroutine in four minutes", func(m float64, n int) float64 { return 150 + m/4 + float64(n*7919%11) }, false},
		{"one at each restart of all", func(m float64, _ int) float64 { return 150 + 20*float64(int(m)/12) }, false},
	} {
		f := flat(l, series(tt.of), warmup)
		f.judged = true
		if f.ok() != tt.ok {
			t.Errorf("%s: grew by %.1f of %.1f from %.1f", tt.name, f.growth, f.allowed, f.begin)
		}
	}
}

// TestNumbers: a gap and a repetition on a link that stays up are found, a new link begins anew.
func TestNumbers(t *testing.T) {
	for _, tt := range []struct {
		got  []int // -1: the link ended
		lost uint64
	}{
		{[]int{7, 8, 9}, 0},
		{[]int{7, 9, 10}, 1},
		{[]int{7, 8, 8, 9}, 1},
		{[]int{7, 9, 8}, 2},
		{[]int{7, -1, 99, 100}, 0},
	} {
		s := &soak{found: newFindings(), tally: newTally()}
		n := numbers{of: "test"}
		for _, v := range tt.got {
			if v < 0 {
				n.reset()
				continue
			}
			n.take(s, []byte{byte(v), 0, 0, 0})
		}
		if got := s.tally.get("notifications lost or out of order"); got != tt.lost || (len(s.found.list()) > 0) != (tt.lost > 0) {
			t.Errorf("%v: %d lost", tt.got, got)
		}
	}
}
