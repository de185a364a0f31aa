package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Bounds of the lines that the summary shows for a failed test; the rest is in the log.
const (
	shownLines   = 8
	shownColumns = 200
	shownNames   = 4 // names of tests that were skipped for one reason
)

// summary is the results of all parts.
type summary struct {
	outcomes []*outcome
	took     time.Duration
	logs     string
}

func (s *summary) failed() bool {
	return len(s.outcomes) == 0 || slices.ContainsFunc(s.outcomes, func(o *outcome) bool { return o.action == "fail" })
}

// print prints the summary. Its last line alone is enough for programs that read it.
func (s *summary) print(w io.Writer, root string) {
	fmt.Fprintln(w, "\n== summary")
	var bad []*outcome
	good := 0
	passed, failed, skipped := 0, 0, 0
	for _, o := range s.outcomes {
		p, f, k := o.counts()
		passed, failed, skipped = passed+p, failed+f, skipped+k
		switch o.action {
		case "fail":
			bad = append(bad, o)
		case "pass":
			good++
		}
	}
	fmt.Fprintf(w, "passed: %d of %d packages and parts\n", good, good+len(bad))
	if len(bad) > 0 {
		fmt.Fprintf(w, "failed: %d\n", failed)
		for _, o := range bad {
			o.explain(w, root)
		}
	}
	s.skips(w, skipped)
	fmt.Fprintf(w, "took:   %s; longest: %s\n", minutes(s.took), s.longest())
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
}

// explain describes a package or part that failed: the tests, the first lines of their output, and the command that
// runs it alone.
func (o *outcome) explain(w io.Writer, root string) {
	log := o.log
	if short, err := filepath.Rel(root, log); err == nil && !strings.HasPrefix(short, "..") {
		log = short
	}
	fails := o.failures()
	for _, t := range fails {
		fmt.Fprintf(w, "  %s %s\n", o.name, t.name)
		show(w, t.gist())
		fmt.Fprintf(w, "    alone: %s -run '%s' ./%s\n", o.how, pattern(t.name), o.name)
	}
	if len(fails) == 0 {
		fmt.Fprintf(w, "  %s\n", o.name)
		show(w, strings.Split(strings.TrimSpace(strings.Join(o.output, "")), "\n"))
		fmt.Fprintf(w, "    alone: %s\n", o.alone)
	}
	fmt.Fprintf(w, "    everything it said: %s\n", log)
}

// crash matches the line before a stack trace.
var crash = regexp.MustCompile(`^(panic|fatal error): |DATA RACE`)

// gist is the important part of the output of a failed test: the first lines of a crash, or the first line of each
// message. The log has the further lines, such as the output of processes.
func (t *test) gist() []string {
	if t.hung != nil {
		return t.hung
	}
	lines := t.said()
	if i := slices.IndexFunc(lines, crash.MatchString); i >= 0 {
		return lines[i:min(len(lines), i+shownLines)]
	}
	first := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !place.MatchString(l) })
	if len(first) == 0 {
		return lines
	}
	return first
}

// show prints lines; if there are many, only the last ones.
func show(w io.Writer, lines []string) {
	if n := len(lines) - shownLines; n > 0 {
		fmt.Fprintf(w, "    … %d lines\n", n)
		lines = lines[n:]
	}
	for _, l := range lines {
		if r := []rune(l); len(r) > shownColumns {
			l = string(r[:shownColumns]) + "…"
		}
		fmt.Fprintf(w, "    %s\n", strings.TrimSpace(l))
	}
}

// pattern is the value of -run for one test.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + quote(p) + "$"
	}
	return strings.Join(parts, "/")
}

// quote escapes the characters that have a meaning in a regular expression or in a shell's single quotes.
func quote(s string) string {
	var out strings.Builder
	for _, r := range s {
		switch {
		case r == '\'':
			out.WriteByte('.')
		case strings.ContainsRune(`\.+*?()|[]{}^$`, r):
			out.WriteString(`\` + string(r))
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// skips prints which tests were skipped, by reason.
func (s *summary) skips(w io.Writer, n int) {
	if n == 0 {
		fmt.Fprintln(w, "skipped: none")
		return
	}
	by := map[string][]string{}
	for _, o := range s.outcomes {
		for _, t := range o.tests {
			if t.action == "skip" && !o.parent(t) {
				by[t.reason()] = append(by[t.reason()], o.name+" "+t.name)
			}
		}
	}
	fmt.Fprintf(w, "skipped: %d, because:\n", n)
	for _, reason := range slices.Sorted(maps.Keys(by)) {
		names := by[reason]
		slices.Sort(names)
		more := ""
		if k := len(names) - shownNames; k > 0 {
			names, more = names[:shownNames], fmt.Sprintf(" and %d more", k)
		}
		fmt.Fprintf(w, "  %s: %s%s\n", reason, strings.Join(names, ", "), more)
	}
}

// longest names the parts that took longest.
func (s *summary) longest() string {
	list := slices.Clone(s.outcomes)
	slices.SortFunc(list, func(a, b *outcome) int { return int(b.took - a.took) })
	var out []string
	for _, o := range list[:min(5, len(list))] {
		out = append(out, fmt.Sprintf("%s %.0f s", o.name, o.took.Seconds()))
	}
	return strings.Join(out, ", ")
}

func minutes(d time.Duration) string {
	s := int(d.Seconds() + 0.5)
	return fmt.Sprintf("%d min %02d s", s/60, s%60)
}

// Result is the summary as JSON, for make test-stress.
type Result struct {
	Passed, Failed, Skipped int
	Seconds                 float64
	Failures                []string // "PACKAGE TEST", or a part's name
}

func (s *summary) save(path string) error {
	res := Result{Seconds: s.took.Seconds(), Failures: []string{}}
	for _, o := range s.outcomes {
		p, f, k := o.counts()
		res.Passed, res.Failed, res.Skipped = res.Passed+p, res.Failed+f, res.Skipped+k
		if o.action != "fail" {
			continue
		}
		fails := o.failures()
		for _, t := range fails {
			res.Failures = append(res.Failures, o.name+" "+t.name)
		}
		if len(fails) == 0 {
			res.Failures = append(res.Failures, o.name)
		}
	}
	b, err := json.MarshalIndent(res, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	return nil
}
