package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// When the time of a package is over, go test prints the tests that still run, and then all goroutines. These lines
// come in the output of the test that printed last, even if that one has passed.
var (
	timedOut = regexp.MustCompile(`panic: test timed out after (\S+)\n`)
	ranStill = regexp.MustCompile(`(?m)^\t\t(Test\S+|Fuzz\S+) \((\S+)\)$`)
)

// Bounds of the lines that show where a test hung.
const (
	shownGoroutines = 3
	shownFrames     = 4
)

// hung finds the tests that still ran when the time of their package was over, and notes where each of them waited.
// Other tests without an end only waited for their turn or for their subtests, and it notes that.
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

// stood lists the goroutines of a test: what each waits for, and the functions of this repository on its stack.
func stood(name string, stacks []string) (out []string) {
	top, _, _ := strings.Cut(name, "/")
	in := regexp.MustCompile(`\.` + regexp.QuoteMeta(top) + `(\.func[\d.]+|\.gowrap\d+)*\(`)
	for _, stack := range stacks {
		if !in.MatchString(stack) || strings.Contains(stack, "testing.(*T).Run(") { // this one waits for a subtest
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
