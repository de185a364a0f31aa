package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// result is the result of playing a scenario.
type result struct {
	scenario
	missing   bool      // nothing was recorded: the driver or the daemon broke
	recording *recorded // bluetoothd's; nil if missing
	left      []string  // steps that the recording does not have
	steps     []step
}

// count gives the differing lines, and how many of them no reason explains.
func (r result) count() (differing, unexplained int) {
	for _, s := range r.steps {
		for _, l := range s.lines {
			differing++
			if l.reason == nil {
				unexplained++
			}
		}
	}
	return differing, unexplained
}

// reasons counts the lines by reason.
func (r result) reasons() map[string]int {
	out := map[string]int{}
	for _, s := range r.steps {
		for _, l := range s.lines {
			if l.reason != nil {
				out[l.reason.ID]++
			}
		}
	}
	return out
}

// failed reports whether the scenario has differences that it must not have.
func (r result) failed() bool {
	_, unexplained := r.count()
	return r.missing || unexplained > 0
}

// unexplained is the part of the comparison that has no reason.
func (r result) unexplained() string {
	var b strings.Builder
	differing, n := r.count()
	fmt.Fprintf(&b, "%s (%s): %d differing lines, %d unexplained\n", r.name, r.set, differing, n)
	if r.missing {
		b.WriteString("  not recorded\n")
	}
	for _, s := range r.steps {
		first := true
		for _, l := range s.lines {
			if l.reason != nil {
				continue
			}
			if first {
				fmt.Fprintf(&b, "  @ %s\n", s.head)
				first = false
			}
			fmt.Fprintf(&b, "    %s\n", l.text)
		}
	}
	return b.String()
}

const (
	// maxLine bounds a line in the document, in bytes: some hold a whole object.
	maxLine = 200
	// maxAlike bounds the lines of one step that are shown for one reason; the table counts all.
	maxAlike = 4
)

// section writes a table of results.
func section(b *strings.Builder, results []result) {
	total, same, bad := 0, 0, 0
	for _, r := range results {
		n, u := r.count()
		total, bad = total+n, bad+u
		if n == 0 && !r.missing {
			same++
		}
	}
	fmt.Fprintf(b, "%d of %d scenarios are the same; %d lines differ in the others, %d of them unexplained.\n\n", same, len(results), total, bad)
	b.WriteString("| scenario | recording | differing lines | explained by | unexplained |\n| --- | --- | ---: | --- | ---: |\n")
	for _, r := range results {
		if r.missing {
			fmt.Fprintf(b, "| `%s` | %s | not recorded | | |\n", r.name, r.set)
			continue
		}
		n, u := r.count()
		var parts []string
		for id, k := range r.reasons() {
			parts = append(parts, fmt.Sprintf("[%s](#%s) %d", id, id, k))
		}
		slices.Sort(parts)
		fmt.Fprintf(b, "| `%s` | %s | %d | %s | %d |\n", r.name, r.set, n, strings.Join(parts, ", "), u)
	}
}

func sorted(results []result) []result {
	return slices.SortedFunc(slices.Values(results), func(a, b result) int {
		return strings.Compare(a.name+" "+a.set, b.name+" "+b.set)
	})
}

// render writes the document's first part.
func render(reasons []reason, results []result) string {
	results = sorted(results)
	var b strings.Builder
	b.WriteString(`# Conformance with bluetoothd

Recordings of what bluetoothd 5.87 says and signals while a client plays fixed scenarios are held against the same
scenarios played on bluez-esphome, with simulated proxies. This page is written by ` + "`make test-golden`" + ` (its last
section by ` + "`make test-golden-full`" + `), never by hand; ` + "`make test`" + ` fails if a difference has none of the reasons below. The rules
by which a reason is recognised are in ` + "`tests/golden/reasons.json`" + `.

`)
	section(&b, results)
	explanations(&b, reasons, "quirks.md")
	differences(&b, "bluez-esphome did", results)
	return b.String()
}

// explanations lists the reasons, each with where document in docs says more.
func explanations(b *strings.Builder, reasons []reason, document string) {
	b.WriteString("\n## Reasons\n")
	for _, r := range reasons {
		fmt.Fprintf(b, "\n### %s\n\n%s: %s.", r.ID, strings.ToUpper(classes[r.Class][:1])+classes[r.Class][1:], r.Text)
		if r.Quirk != "" {
			fmt.Fprintf(b, " See [%s](../%s), “%s”.", document, document, r.Quirk)
		}
		b.WriteString("\n")
	}
}

// differences lists them; who is whom the lines with + are of.
func differences(b *strings.Builder, who string, results []result) {
	fmt.Fprintf(b, "\n## Differences\n\n`-` is what the recorded bluetoothd did, `+` what %s; at the end of a line stands its reason.\n", who)
	for _, r := range results {
		if len(r.steps) > 0 || len(r.left) > 0 {
			r.differences(b)
		}
	}
}

func (r result) differences(b *strings.Builder) {
	fmt.Fprintf(b, "\n### %s\n\n", r.name)
	for _, l := range r.left {
		fmt.Fprintf(b, "Left out, since the recording does not have it: `%s`.\n\n", l)
	}
	b.WriteString("```diff\n")
	for _, s := range r.steps {
		fmt.Fprintf(b, "@ %s\n", shorten(s.head))
		alike := map[string]int{}
		for _, l := range s.lines {
			id := "UNEXPLAINED"
			if l.reason != nil {
				id = l.reason.ID
			}
			alike[id]++
			if alike[id] <= maxAlike || l.reason == nil {
				fmt.Fprintf(b, "%s  [%s]\n", shorten(l.text), id)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(alike)) {
			if more := alike[id] - maxAlike; more > 0 && id != "UNEXPLAINED" {
				fmt.Fprintf(b, "… %d more [%s]\n", more, id)
			}
		}
	}
	b.WriteString("```\n")
}

func shorten(s string) string {
	if len(s) > maxLine {
		return strings.ToValidUTF8(s[:maxLine], "") + "…"
	}
	return s
}
