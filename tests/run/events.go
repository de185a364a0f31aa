package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// event is one line of go test -json (see go doc test2json), also of the builds before the tests.
type event struct {
	Action      string
	Package     string
	ImportPath  string // the package, in events of a build
	Test        string
	Elapsed     float64 // seconds
	Output      string
	Cached      bool `json:"-"`
	FailedBuild string
}

// test is the result of one test or subtest.
type test struct {
	name   string
	action string // pass, fail, skip; empty: it did not end
	output []string
	hung   []string // where it waited when the time of its package was over
}

// outcome is the result of a package or of another part.
type outcome struct {
	name   string // import path below the module, or the part's name
	alone  string // the command that runs it alone
	how    string // for a package: go test with its flags
	action string // pass, fail, skip (no tests)
	cached bool
	took   time.Duration
	tests  []*test
	output []string // the lines that belong to no test
	log    string   // the file with the complete output
}

// reader collects the events of a go test into outcomes.
type reader struct {
	packages map[string]*outcome
	byName   map[string]map[string]*test
	builds   map[string][]string // the output of failed builds
	// started is called with a package that begins to run, done with one that has ended.
	started func(name string)
	done    func(*outcome)
}

func newReader() *reader {
	return &reader{packages: map[string]*outcome{}, byName: map[string]map[string]*test{}, builds: map[string][]string{},
		started: func(string) {}, done: func(*outcome) {}}
}

// read reads until the end. It returns the lines that are not JSON, such as complaints of the go command.
func (r *reader) read(in io.Reader) (rest []string, err error) {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if text := strings.TrimSpace(line); text != "" {
			var e event
			if !strings.HasPrefix(text, "{") || json.Unmarshal([]byte(text), &e) != nil {
				rest = append(rest, text)
			} else {
				r.take(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return rest, nil
		}
		if err != nil {
			return rest, err
		}
	}
}

func (r *reader) take(e event) {
	if e.Package == "" {
		if e.Action == "build-output" {
			r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
		}
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &outcome{name: e.Package}
		r.packages[e.Package], r.byName[e.Package] = p, map[string]*test{}
	}
	var t *test
	if e.Test != "" {
		t = r.byName[e.Package][e.Test]
		if t == nil {
			t = &test{name: e.Test}
			r.byName[e.Package][e.Test] = t
			p.tests = append(p.tests, t)
		}
	}
	switch e.Action {
	case "start":
		r.started(e.Package)
	case "output":
		if t != nil {
			t.output = append(t.output, e.Output)
			return
		}
		p.output = append(p.output, e.Output)
		p.cached = p.cached || strings.HasPrefix(e.Output, "ok  \t") && strings.Contains(e.Output, "(cached)")
	case "pass", "fail", "skip":
		if t != nil {
			t.action = e.Action
			return
		}
		p.action, p.took = e.Action, time.Duration(e.Elapsed*float64(time.Second))
		if e.FailedBuild != "" {
			p.output = append(p.output, r.builds[e.FailedBuild]...)
		}
		if p.action == "fail" {
			p.hung()
		}
		r.done(p)
	}
}

// counts counts the results of the tests without subtests. A test with subtests is not counted beside them. A part that
// is not made of Go tests counts as one.
func (o *outcome) counts() (passed, failed, skipped int) {
	for _, t := range o.tests {
		if o.parent(t) {
			continue
		}
		switch t.action {
		case "pass":
			passed++
		case "skip":
			skipped++
		default:
			failed++
		}
	}
	switch {
	case o.action == "fail" && failed == 0: // it did not build, it crashed, or it is not made of Go tests
		failed++
	case o.action == "pass" && len(o.tests) == 0:
		passed++
	}
	return passed, failed, skipped
}

func (o *outcome) parent(t *test) bool {
	return slices.ContainsFunc(o.tests, func(u *test) bool { return strings.HasPrefix(u.name, t.name+"/") })
}

// failures lists the tests that failed, except those that failed only because a subtest did.
func (o *outcome) failures() (out []*test) {
	for _, t := range o.tests {
		if t.action == "pass" || t.action == "skip" {
			continue
		}
		below := slices.ContainsFunc(o.tests, func(u *test) bool {
			return strings.HasPrefix(u.name, t.name+"/") && u.action != "pass" && u.action != "skip"
		})
		if !below {
			out = append(out, t)
		}
	}
	return out
}

// place matches the file and line that go test prints before a test's message.
var place = regexp.MustCompile(`^\s+[\w.-]+\.go:\d+: `)

// said is the output of the test, without the lines that go test adds.
func (t *test) said() (out []string) {
	for line := range strings.Lines(strings.Join(t.output, "")) {
		text := strings.TrimSpace(line)
		if text != "" && !strings.HasPrefix(text, "=== ") && !strings.HasPrefix(text, "--- ") {
			out = append(out, strings.TrimRight(line, "\n"))
		}
	}
	return out
}

// reason is why a test was skipped.
func (t *test) reason() string {
	for _, line := range slices.Backward(t.said()) {
		if place.MatchString(line) {
			text := strings.TrimSpace(place.ReplaceAllString(line, ""))
			return strings.TrimSpace(strings.TrimPrefix(text, "skipped:"))
		}
	}
	return "no reason given"
}
