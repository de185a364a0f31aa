package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	verdict = regexp.MustCompile(`^(\S+)\s+(same|not recorded|(\d+) differing lines)$`)
	row     = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| \\S+ \\| (\\d+) \\|")
)

// compare lets the driver compare what was recorded with one set.
func (p *player) compare(ctx context.Context, set string, names []string) ([]result, error) {
	cmd := exec.CommandContext(ctx, p.python, filepath.Join(p.golden, "driver", "golden.py"), "compare",
		filepath.Join(p.golden, set), p.out, "--only", strings.Join(names, ","))
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1 && len(exit.Stderr) == 0) { // 1: there are differences
		return nil, fmt.Errorf("cannot compare with %s: %w\n%s", set, err, stderr(exit))
	}
	var results []result
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		m := verdict.FindStringSubmatch(line)
		switch {
		case m != nil:
			r := result{scenario: scenario{set: set, name: m[1]}, missing: m[2] == "not recorded"}
			if m[3] != "" {
				if r.differing, err = strconv.Atoi(m[3]); err != nil {
					return nil, err
				}
			}
			results = append(results, r)
		case len(results) > 0:
			last := &results[len(results)-1]
			last.lines = append(last.lines, strings.TrimPrefix(line, "   "))
		}
	}
	if len(results) != len(names) {
		return nil, fmt.Errorf("cannot compare with %s: the driver judged %d of %d scenarios", set, len(results), len(names))
	}
	return results, nil
}

func stderr(exit *exec.ExitError) string {
	if exit == nil {
		return ""
	}
	return string(exit.Stderr)
}

// maxLine bounds a line in the document, in bytes: some hold a whole object. maxLines bounds what is shown of
// one scenario; the table counts all.
const (
	maxLine  = 240
	maxLines = 100
)

// render writes the document.
func render(results []result) string {
	slices.SortFunc(results, func(a, b result) int { return strings.Compare(a.name, b.name) })
	total, same := 0, 0
	for _, r := range results {
		total += r.differing
		if r.differing == 0 && !r.missing {
			same++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# Conformance with bluetoothd

Recordings of what bluetoothd 5.87 says and signals while a client plays fixed scenarios are held against the same
scenarios played on bluez-esphome, with simulated proxies. This page is written by `+"`make test-golden`"+`; `+"`make test`"+` fails if
a scenario differs in more lines than are listed here. The differences that are meant are
explained in [quirks.md](quirks.md).

%d of %d scenarios are the same; in all %d lines differ.

| scenario | recording | differing lines |
| --- | --- | ---: |
`, same, len(results), total)
	for _, r := range results {
		if r.missing {
			fmt.Fprintf(&b, "| `%s` | %s | not recorded |\n", r.name, r.set)
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | %d |\n", r.name, r.set, r.differing)
	}
	b.WriteString("\n`-` is what bluetoothd did, `+` what bluez-esphome did.\n")
	for _, r := range results {
		if len(r.lines) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n```diff\n", r.name)
		for i, l := range r.lines {
			if i == maxLines {
				fmt.Fprintf(&b, "@ %d more lines: go run ./tests/golden -only %s\n", len(r.lines)-i, r.name)
				break
			}
			l = strings.TrimPrefix(l, "  ") // so that - and + are coloured
			if len(l) > maxLine {
				l = strings.ToValidUTF8(l[:maxLine], "") + "…"
			}
			b.WriteString(l + "\n")
		}
		b.WriteString("```\n")
	}
	return b.String()
}

// counts reads the table of the document.
func counts(path string) (map[string]int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read what is committed: %w (make test-golden writes it)", err)
	}
	out := map[string]int{}
	for _, m := range row.FindAllStringSubmatch(string(b), -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			return nil, err
		}
		out[m[1]] = n
	}
	return out, nil
}
