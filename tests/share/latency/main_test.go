package main

import (
	"testing"
	"time"
)

// What is measured is what was written: every batch to every host, after it was read.
func TestMeasure(t *testing.T) {
	for _, noise := range []bool{false, true} {
		s := setting{hosts: 3, noise: noise, size: 2, batches: 20, every: 2 * time.Millisecond}
		r, err := measure(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if r.Lost != 0 || r.Batches != 20 || r.Hosts != 3 || r.Median <= 0 || r.P99 < r.Median || r.Max < r.P99 {
			t.Errorf("Noise %v: %+v", noise, r)
		}
	}
}

func TestFrameSize(t *testing.T) {
	for in, want := range map[string]int{"\x00\x02\x5dab\x00": 5, "\x00\x80\x01\x5d": 132, "\x01\x00\x02ab\x01": 5, "\x00": 1} {
		if got := frameSize([]byte(in)); got != want {
			t.Errorf("%x: %d, want %d", in, got, want)
		}
	}
}
