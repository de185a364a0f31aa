package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// What go test prints of a package that it ends because its time is over: the tests that ran, then all goroutines. It
// comes in the output of whichever test printed last, even if that one has passed.
var (
	timedOut = regexp.MustCompile(`panic: test timed out after (\S+)\n`)
	ranStill = regexp.MustCompile(`(?m)^\t\t(Test\S+|Fuzz\S+) \((\S+)\)$`)
)

// Bounds of what is shown of where a test hung.
const (
	shownGoroutines = 3
	shownFrames     = 4
)

// hung tells of the tests that still ran when the time of their package was over, and where each stood, and of those
// that waited for them.
func (o *outcome) hung() {
	outputs := [][]string{o.output}
	for _, t := range o.tests {
		outputs = append(outputs, t.output)
	}
	const late = "it waited for its turn, or for its subtests, when the time of the package was over"
	for _, output := range outputs {
		text := strings.Join(output, "")
		at := timedOut.FindStringSubmatchIndex(text)
		if at == nil {
			continue
		}
		running, dump, _ := strings.Cut(text[at[1]:], "\n\n")
		stacks := strings.Split(dump, "\n\n")
		for _, m := range ranStill.FindAllStringSubmatch(running, -1) {
			i := slices.IndexFunc(o.tests, func(t *test) bool { return t.name == m[1] })
			if i < 0 {
				continue
			}
			t := o.tests[i]
			t.action = "fail"
			t.hung = append([]string{fmt.Sprintf("hung: it still ran after %s, when the package's %s were over", m[2], text[at[2]:at[3]])}, stood(t.name, stacks)...)
		}
		for _, t := range o.tests {
			if t.action == "" {
				t.hung = []string{late}
			}
		}
	}
}

// stood lists the goroutines of a test, each with what it waits for and the functions of ours in which it does.
func stood(name string, stacks []string) (out []string) {
	top, _, _ := strings.Cut(name, "/")
	in := regexp.MustCompile(`\.` + regexp.QuoteMeta(top) + `(\.func[\d.]+|\.gowrap\d+)*\(`)
	for _, stack := range stacks {
		if !in.MatchString(stack) || strings.Contains(stack, "testing.(*T).Run(") { // which waits for a subtest
			continue
		}
		if len(out) == shownGoroutines {
			return append(out, "further goroutines of it: see the log")
		}
		lines := strings.Split(strings.TrimSpace(stack), "\n")
		var frames []string
		for i := 1; i+1 < len(lines) && len(frames) < shownFrames; i += 2 {
			if strings.HasPrefix(lines[i], module) {
				place, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " ")
				function, _, _ := strings.Cut(filepath.Base(lines[i]), "(0x")
				frames = append(frames, fmt.Sprintf("%s (%s)", strings.TrimSuffix(function, "(...)"), filepath.Base(place)))
			}
		}
		out = append(out, strings.TrimSuffix(lines[0], ":")+" in "+strings.Join(frames, ", called by "))
	}
	return out
}
