package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// report is everything that was measured, and the machine on which it was.
type report struct {
	Machine machine   `json:"machine"`
	Rounds  int       `json:"rounds"`
	Rows    []*result `json:"rows"`
}

// verdict says what the check demands and whether that is met.
func (c *check) verdict() string {
	if c.pass() {
		return "pass"
	}
	return "short"
}

func (c *check) demand() string {
	if c.AtLeast {
		return fmt.Sprintf("≥ %g%s", c.Limit, c.Unit)
	}
	return fmt.Sprintf("≤ %g%s", c.Limit, c.Unit)
}

// print prints a row in short.
func (r *result) print(w io.Writer) {
	for _, g := range r.Groups {
		if g.Name != "" {
			fmt.Fprintln(w, "  "+g.Name)
		}
		for _, s := range g.Series {
			fmt.Fprintf(w, "    %-24s %-32s min %10s  median %10s\n", s.Who, s.What, digits(s.min()), digits(s.median()))
		}
		for _, c := range g.Checks {
			fmt.Fprintf(w, "    %-5s %s, %s: %s (%s)\n", c.verdict(), c.Of, c.What, digits(c.Reached), c.demand())
		}
	}
}

// digits writes a number with three digits.
func digits(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// byHand is the heading of the part of the file that people write, and that stays as it is.
const byHand = "## Remarks"

const noRemarks = byHand + "\n\nNone yet. This section is written by hand; `make bench` leaves it alone.\n"

// write writes the report, and keeps what people wrote at its end.
func (r *report) write(path string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot keep the remarks: %w", err)
	}
	remarks := noRemarks
	if at := strings.Index(string(old), byHand+"\n"); at >= 0 {
		remarks = string(old)[at:]
	}
	var b strings.Builder
	r.markdown(&b)
	b.WriteString(remarks)
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}

func (r *report) markdown(b *strings.Builder) {
	fmt.Fprintf(b, `# Benchmarks

What the program costs beside the *reference*, the Bluetooth stack of Home Assistant (bleak-esphome, habluetooth and aioesphomeapi, compiled
by Cython), which serves one Python process, and beside the *floor*, a bare reader in Go that decrypts, decodes and
compares, and has no D-Bus. All are measured in one run on the same bytes, one after the other, %d rounds of it, each time in new processes. CPU is user and
system time of the process alone; that of dbus-daemon is given apart. Ratios are the median of the rounds' ratios. The simulated proxies are a process of their
own, whose CPU is nobody's. Absolute figures are this machine's; what is demanded are ratios wherever there is something to compare with.

    make bench                  # all, and write this file
    make bench ROWS=flood,home  # some, and only print them

`, r.Rounds)
	r.Machine.markdown(b)
	b.WriteString("\n## Demands\n\n| what | case | compared | demanded | reached | |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, row := range r.Rows {
		for _, g := range row.Groups {
			for _, c := range g.Checks {
				verdict := c.verdict()
				if verdict == "short" {
					verdict = "**short**"
				}
				fmt.Fprintf(b, "| [%s](#%s) | %s | %s: %s | %s | %s%s | %s |\n", row.Title, row.Key, cmp.Or(g.Name, "–"), c.Of, c.What, c.demand(), digits(c.Reached), c.Unit, verdict)
			}
		}
	}
	for _, row := range r.Rows {
		fmt.Fprintf(b, "\n## %s\n\n%s. %s\n\n| case | who | what | min | median |\n| --- | --- | --- | --- | --- |\n", row.Key, row.Title, row.About)
		for _, g := range row.Groups {
			for _, s := range g.Series {
				fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", cmp.Or(g.Name, "–"), s.Who, s.What, digits(s.min()), digits(s.median()))
			}
		}
	}
	b.WriteString("\n")
}
