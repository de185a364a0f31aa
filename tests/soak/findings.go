package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// findings is what should not have happened. It is goroutine-safe.
type findings struct {
	mu    sync.Mutex
	first map[string]string // an example of each, by the place
	count map[string]int
	order []string
}

func newFindings() *findings { return &findings{first: map[string]string{}, count: map[string]int{}} }

func (f *findings) add(where, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[where]++
	if f.count[where] == 1 {
		f.first[where] = time.Now().UTC().Format("15:04:05 ") + what
		f.order = append(f.order, where)
	}
	fmt.Fprintln(os.Stderr, "soak: "+where+": "+what)
}

func (f *findings) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.order)
}

// tally counts, and measures how long operations took. It is goroutine-safe.
type tally struct {
	mu     sync.Mutex
	counts map[string]uint64
	times  map[string][]time.Duration // since the last sample
	links  map[string]bool
}

func newTally() *tally {
	return &tally{counts: map[string]uint64{}, times: map[string][]time.Duration{}, links: map[string]bool{}}
}

func (t *tally) add(what string, n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[what] += n
}

func (t *tally) get(what string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[what]
}

func (t *tally) took(op string, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[op+" that succeeded"]++
	t.times[op] = append(t.times[op], d)
}

// latency gives the median of an operation since the last call, in milliseconds; 0 if there was none.
func (t *tally) latency(op string) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.times[op]
	delete(t.times, op)
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return float64(list[len(list)/2].Microseconds()) / 1000
}

func (t *tally) link(name string, up bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if up {
		t.links[name] = true
	} else {
		delete(t.links, name)
	}
}

func (t *tally) linked() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.links)
}

// expected are the warnings of the daemon's log that outages explain.
var expected = regexp.MustCompile(`msg="?(` + strings.Join([]string{
	"Lost the proxy", "Cannot use the proxy", "cannot subscribe again", "the proxy no longer has the link",
}, "|") + `)`)

var level = regexp.MustCompile(`\blevel=(WARN|ERROR)\b`)

// logged takes a line of the daemon's log.
func (w *world) logged(line string) {
	_, _ = w.logs.WriteString(line + "\n") // beside the judgement below
	m := level.FindStringSubmatch(line)
	switch {
	case strings.Contains(line, "WARNING: DATA RACE"):
		w.s.tally.add("data races", 1)
		w.s.found.add("data race", "see the daemon's log")
	case strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: "):
		w.s.found.add("crash", line)
	case m == nil:
	case m[1] == "WARN" && expected.MatchString(line):
		w.s.tally.add("warnings in the log that outages explain", 1)
	default:
		w.s.found.add("log "+m[1], line)
	}
}
