package main

import (
	"context"
	"fmt"
	"io"
)

// report is all that was measured.
type report struct {
	Rows []*result `json:"rows"`
}

func newReport(ctx context.Context, o *options) *report { return &report{} }

func (r *report) write(path string) error { return nil }

// print shows a row in short.
func (r *result) print(w io.Writer) {
	for _, g := range r.Groups {
		for _, s := range g.Series {
			fmt.Fprintf(w, "   %-32s %-24s %-36s min %8.3f  median %8.3f\n", g.Name, s.Who, s.What, s.min(), s.median())
		}
		for _, c := range g.Checks {
			fmt.Fprintf(w, "   %-32s %s: %.3f %s\n", g.Name, c.What, c.Reached, c.verdict())
		}
	}
}

func (c *check) verdict() string {
	sign, word := "≤", "pass"
	if c.AtLeast {
		sign = "≥"
	}
	if !c.pass() {
		word = "short"
	}
	return fmt.Sprintf("(%s %g%s: %s)", sign, c.Limit, c.Unit, word)
}
