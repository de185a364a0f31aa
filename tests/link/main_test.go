// Package link tests the link with the proxies as a whole: every fault that a proxy or its network can have, another
// implementation of the device's side, two hundred proxies at once, names, and that no key is ever shown.
//
// With -update the run writes docs/evidence/link.md.
package link

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bluez-esphome/tests/harness"
)

// binary is the program under test, built with the race detector.
var binary string

var update = flag.Bool("update", false, "write docs/evidence/link.md")

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	dir, err := os.MkdirTemp("", "be-link")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary, err = harness.Build(dir, "-race")
	if err == nil {
		err = os.Setenv("BLUEZ_ESPHOME_TEST_BINARY", binary) // where the harness looks
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code == 0 {
		err = goleak.Find()
		if err == nil && *update {
			err = os.WriteFile("../../docs/evidence/link.md", []byte(results.document()), 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// A row is one line of the table. Negative times are "not at all".
type row struct {
	order     int
	fault     string
	where     string // fake time or real sockets
	detected  time.Duration
	err       string
	recovered time.Duration
	note      string
}

// report collects what docs/evidence/link.md shows.
type report struct {
	mu    sync.Mutex
	rows  []row
	hosts []string // by firmware version
	fleet []string
}

var results report

func (r *report) add(w row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, w)
}

func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "–"
	case d < 50*time.Millisecond:
		return "at once"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f min", d.Minutes())
}

func (r *report) document() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	b.WriteString(`# The link with a proxy

Written by ` + "`go test ./tests/link -update`" + `; the same run checks a bound for every cell.

Each fault is brought on a session that is up and has heard advertisements, unless the note says otherwise, with the
defaults (ping after 10 s of silence, dead after 20 s, on_conflict: yield). *Detected* is the time from the fault to the first
line in the log and the change of Proxy1.State. *Recovered* is the time from the end of the fault to the proxy being online again, at
worst the pause of the back-off that had grown meanwhile. Rows in fake time run the simulated proxy's firmware over pipes under
testing/synctest, the others over TCP on loopback. The errors are Go types; their texts, with a remedy each, are what the log, ` + "`status`" + `
and Proxy1.LastError show.

| fault | run in | detected after | error | recovered after | note |
| --- | --- | --- | --- | --- | --- |
`)
	slices.SortFunc(r.rows, func(a, b row) int { return a.order - b.order })
	for _, w := range r.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", w.fault, w.where, duration(w.detected), w.err, duration(w.recovered), w.note)
	}
	b.WriteString(`
A key that is not base64 of 32 bytes never gets that far: the configuration is refused (apiwire.PSKError without the key in it).

The reference (aioesphomeapi 46 with bleak-esphome 4) notices a dead link after 110 to 130 s, and a stolen subscription or a deaf radio
not at all.

## Another host on the same proxy, by firmware version

Up to ESPHome 2026.6 the first host that subscribes keeps a proxy, from 2026.7 on the newest one takes it. *Known after* is the time from our
start, or from the other host's subscription, to the first line in the log; *costs it* is the longest time that the other host, which takes back what is its,
hears nothing because of our start; *back after* is the time from the other host's leaving to advertisements being here. All in fake time, with
on_conflict: yield.

| ESPHome | another has it: known after | costs it | back after | another comes: known after | we keep ours | back after |
| --- | --- | --- | --- | --- | --- | --- |
` + strings.Join(r.hosts, "\n") + `

## Many proxies at once

Simulated proxies and the sessions with them run in one process on loopback; half of the sessions are encrypted.

`)
	for _, l := range r.fleet {
		b.WriteString(l + "\n")
	}
	return b.String()
}
