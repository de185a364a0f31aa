package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// silence is the time without output after which the printer says what still runs.
const silence = 30 * time.Second

// printer prints a line for each part that has ended. Its methods may be called from several goroutines.
type printer struct {
	mu      sync.Mutex
	out     io.Writer
	running map[string]time.Time
	last    time.Time
}

func newPrinter(out io.Writer) *printer {
	return &printer{out: out, running: map[string]time.Time{}, last: time.Now()}
}

func (p *printer) begin(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[name] = time.Now()
}

func (p *printer) end(o *outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, o.name)
	p.last = time.Now()
	if o.action == "skip" { // the package has no tests
		return
	}
	fmt.Fprintln(p.out, line(o))
}

// line is the line that is printed for an outcome.
func line(o *outcome) string {
	word := "ok  "
	if o.action == "fail" {
		word = "FAIL"
	}
	took := fmt.Sprintf("%.1f s", o.took.Seconds())
	if o.cached {
		took = "cached"
	}
	text := fmt.Sprintf("%s %8s  %s", word, took, o.name)
	if len(o.tests) == 0 {
		return text
	}
	passed, failed, skipped := o.counts()
	text += fmt.Sprintf(": %d passed", passed)
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	if skipped > 0 {
		text += fmt.Sprintf(", %d skipped", skipped)
	}
	return text
}

// alive prints what still runs after each silence, until stop is called.
func (p *printer) alive() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				p.still(now)
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

func (p *printer) still(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.running) == 0 || now.Sub(p.last) < silence {
		return
	}
	p.last = now
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.running)) {
		names = append(names, fmt.Sprintf("%s (%.0f s)", name, now.Sub(p.running[name]).Seconds()))
	}
	fmt.Fprintln(p.out, "...  still running:", strings.Join(names, ", "))
}
