package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	verdict = regexp.MustCompile(`^(\S+)\s+(same|not recorded|\d+ differing lines)$`)
	head    = regexp.MustCompile(`^   @ (?:step )?(.*)$`)
)

// compare lets the driver compare what was recorded in a run with one set, and looks for reasons.
func (p *player) compare(ctx context.Context, out, set string, names []string) ([]result, error) {
	trimmed := filepath.Join(p.work, "trimmed", filepath.Base(out), set)
	var results []result
	for _, name := range names {
		r := result{scenario: scenario{set: set, name: name}, missing: true}
		ours, err := readRecording(filepath.Join(out, name+".json"))
		if err == nil {
			r.missing = false
			recording, err := readRecording(filepath.Join(p.golden, set, name+".json"))
			if err != nil {
				return nil, err
			}
			r.recording = recording
			ours.strangers()
			r.left = align(recording, ours)
			if err := ours.write(filepath.Join(trimmed, name+".json")); err != nil {
				return nil, err
			}
		}
		results = append(results, r)
	}
	byName := map[string]*result{}
	for i := range results {
		byName[results[i].name] = &results[i]
	}
	if xml := filepath.Join(out, "introspect"); exists(xml) {
		if err := os.CopyFS(filepath.Join(trimmed, "introspect"), os.DirFS(xml)); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, p.python, filepath.Join(p.golden, "driver", "golden.py"), "compare",
		filepath.Join(p.golden, set), trimmed, "--only", strings.Join(names, ","))
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	text, err := cmd.Output()
	var exit *exec.ExitError
	// exit status 1: there are differences
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1 && len(exit.Stderr) == 0) {
		return nil, fmt.Errorf("cannot compare with %s: %w\n%s", set, err, stderr(exit))
	}
	if judged := parse(string(text), byName); judged != len(names) {
		return nil, fmt.Errorf("cannot compare with %s: the driver judged %d of %d scenarios", set, judged, len(names))
	}
	for i := range results {
		r := &results[i]
		if r.recording != nil {
			explain(p.reasons, r.name, r.steps, r.recording.mentions)
		}
	}
	return results, nil
}

// parse reads what the driver's comparison prints, and gives how many scenarios it judged.
func parse(text string, byName map[string]*result) (judged int) {
	var r *result
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\n")
		if m := verdict.FindStringSubmatch(l); m != nil {
			judged++
			r = byName[m[1]]
			continue
		}
		if r == nil {
			continue
		}
		if m := head.FindStringSubmatch(l); m != nil {
			r.steps = append(r.steps, step{head: m[1]})
			continue
		}
		if len(r.steps) == 0 {
			r.steps = append(r.steps, step{head: "?"})
		}
		s := &r.steps[len(r.steps)-1]
		s.lines = append(s.lines, line{text: strings.TrimPrefix(l, "     ")})
	}
	return judged
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func stderr(exit *exec.ExitError) string {
	if exit == nil {
		return ""
	}
	return string(exit.Stderr)
}
