package main

import (
	"fmt"
	"slices"
	"time"
)

// limit is by how much a measure may grow from the end of the warm-up to the end of the load: by abs, or by part of
// what it was, whichever is more. It is the growth of a straight line through the samples (Theil and Sen's: the median
// of the slopes between any two, which outliers do not move).
type limit struct {
	name      string
	of        func(sample) float64
	abs, part float64
	memory    bool // not judged under the race detector, nor in a run that is too short to fill every cache
	unit      float64
	format    string
}

const mib = 1 << 20

var limits = []limit{
	{"heap in use, MiB", func(s sample) float64 { return s.Heap }, mib, 0.10, true, mib, "%.2f"},
	{"resident memory, MiB", func(s sample) float64 { return s.RSS }, 4 * mib, 0.10, true, mib, "%.1f"},
	{"goroutines", func(s sample) float64 { return s.Goroutines }, 6, 0.03, false, 1, "%.0f"},
	{"descriptors", func(s sample) float64 { return s.FDs }, 5, 0.10, false, 1, "%.0f"},
	{"objects in the tree", func(s sample) float64 { return s.Objects }, 10, 0.05, true, 1, "%.0f"},
	{"devices in the table", func(s sample) float64 { return s.Devices }, 10, 0.05, true, 1, "%.0f"},
	{"state on disk, KiB", func(s sample) float64 { return s.State }, 4096, 0.10, false, 1024, "%.1f"},
}

const (
	// warmup is how long caches and tables fill: every beacon of the pool was in the air by then.
	warmup = 10 * time.Minute
	// judged is how long a run has to be beyond that for its memory to be judged.
	judged = 20 * time.Minute
)

// flatness is the judgement of one limit.
type flatness struct {
	limit
	begin, growth, allowed float64
	judged                 bool
}

func (f flatness) ok() bool { return !f.judged || f.growth <= f.allowed }

// verdict is what the run shows.
type verdict struct {
	flat     []flatness
	failures []string
}

func (v verdict) ok() bool { return len(v.failures) == 0 }

// warm is the warm-up of this run; a short one has a short one.
func (s *soak) warm() time.Duration { return min(warmup, s.duration/4) }

func (s *soak) judge() verdict {
	var v verdict
	for _, l := range limits {
		f := flat(l, s.samples, s.warm())
		f.judged = !l.memory || !s.race && s.duration >= warmup+judged
		v.flat = append(v.flat, f)
		if !f.ok() {
			v.failures = append(v.failures, fmt.Sprintf("%s grew by "+l.format+", more than "+l.format, l.name, f.growth/l.unit, f.allowed/l.unit))
		}
	}
	for _, where := range s.found.list() {
		v.failures = append(v.failures, fmt.Sprintf("%s: %d times, first %s", where, s.found.count[where], s.found.first[where]))
	}
	fail := func(bad bool, format string, args ...any) {
		if bad {
			v.failures = append(v.failures, fmt.Sprintf(format, args...))
		}
	}
	e := s.ending
	fail(len(s.samples) < int(s.duration/sampleEvery)/2, "only %d samples", len(s.samples))
	fail(s.tally.get("notifications received") == 0, "no notification was received")
	fail(e.links < held, "when all had settled %d of the listeners' %d links were up", e.links, held)
	fail(len(s.samples) > 0 && s.samples[len(s.samples)-1].Online != proxies, "when all had settled not every proxy was online")
	fail(e.status != 0, "the daemon's exit status was %d", e.status)
	fail(!s.race && e.took > exitWithin, "the daemon took %v to end", e.took)
	fail(e.taken > 0 || e.clients > 0, "%d slots and %d sessions of proxies were left behind", e.taken, e.clients)
	fail(e.state != nil, "the state cannot be read: %v", e.state)
	return v
}

// flat fits a line through what was measured after the warm-up.
func flat(l limit, samples []sample, warm time.Duration) flatness {
	var x, y []float64
	for _, s := range samples {
		if v := l.of(s); s.At >= warm && v != 0 {
			x, y = append(x, s.At.Seconds()), append(y, v)
		}
	}
	f := flatness{limit: l}
	if len(x) < 2 {
		return f
	}
	var slopes []float64
	for i := range x {
		for j := range i {
			slopes = append(slopes, (y[i]-y[j])/(x[i]-x[j]))
		}
	}
	slope := median(slopes)
	var rest []float64
	for i := range x {
		rest = append(rest, y[i]-slope*(x[i]-x[0]))
	}
	f.begin, f.growth = median(rest), slope*(x[len(x)-1]-x[0])
	f.allowed = max(l.abs, l.part*f.begin)
	return f
}

// median is 0 of nothing.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func maximum(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return slices.Max(v)
}
