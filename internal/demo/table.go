package demo

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/daemon"
	"bluez-esphome/internal/scanner"
)

// How often the table is drawn: on a terminal over itself, elsewhere appended.
const (
	liveInterval   = time.Second
	appendInterval = 10 * time.Second
	// The first table waits until every simulated device was heard, but not longer than this.
	firstTable = 5 * time.Second
	firstPoll  = 50 * time.Millisecond
)

// maxName is how many characters of a device's name are shown.
const maxName = 32

func encodeKey(key [32]byte) string { return base64.StdEncoding.EncodeToString(key[:]) }

// show prints how to use the demo from another shell and then who hears what, until ctx ends. devices is how many there
// are to be heard.
func show(ctx context.Context, opts Options, d *daemon.Daemon, devices int, at place) {
	io.WriteString(opts.Out, introduce(at))
	for end := time.Now().Add(firstTable); len(d.Heard()) < devices && time.Now().Before(end) && ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-time.After(firstPoll):
		}
	}
	wait := time.Duration(0)
	lines := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if opts.Live && lines > 0 {
			fmt.Fprintf(opts.Out, "\x1b[%dA\x1b[J", lines)
		}
		table := Table(d.Heard(), time.Now())
		io.WriteString(opts.Out, table)
		lines = strings.Count(table, "\n")
		wait = appendInterval
		if opts.Live {
			wait = liveInterval
		}
	}
}

// Table tells who hears what, a device a line; * marks the proxy whose signal counts.
func Table(devices []scanner.Device, now time.Time) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DEVICE\tNAME\tHEARD BY (dBm)\tLAST")
	for _, d := range devices {
		var heard []string
		for _, s := range d.Sources {
			mark := ""
			if s.Owner {
				mark = "*"
			}
			heard = append(heard, fmt.Sprintf("%s%s %d", s.Proxy, mark, s.RSSI))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f s\n", d.Address, apiwire.Printable(d.Name, maxName), strings.Join(heard, ", "), now.Sub(d.LastHeard).Seconds())
	}
	w.Flush()
	return b.String() + "\n"
}
