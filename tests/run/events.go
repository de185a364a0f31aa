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

// event is one line of go test -json (see go doc test2json), or of the builds before it.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of a build that failed
	Test        string
	Elapsed     float64 // seconds
	Output      string
	Cached      bool `json:"-"`
	FailedBuild string
}

// test is what became of one test or subtest.
type test struct {
	name   string
	action string // pass, fail, skip; empty: it did not end
	output []string
	hung   []string // where it stood when the time of its package was over
}

// outcome is what became of a package or of another part.
type outcome struct {
	name   string // import path below the module, or the part's name
	alone  string // command that runs it alone
	how    string // of a package: go test with its flags
	action string // pass, fail, skip (no tests)
	cached bool
	took   time.Duration
	tests  []*test
	output []string // that belongs to no test
	log    string   // file with everything
}

// reader puts the events of a go test together.
type reader struct {
	packages map[string]*outcome
	byName   map[string]map[string]*test
	builds   map[string][]string // output of failed builds
	// started is called with a package that begins to run, done with one that has ended.
	started func(name string)
	done    func(*outcome)
}

func newReader() *reader {
	return &reader{packages: map[string]*outcome{}, byName: map[string]map[string]*test{}, builds: map[string][]string{},
		started: func(string) {}, done: func(*outcome) {}}
}

// read reads until the end. What is no JSON, such as complaints of the go command, is given back.
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

// counts are the tests that have no subtests: a test with subtests only stands for them.
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
	if o.action == "fail" && failed == 0 { // it did not build, crashed, or is no Go test
		failed++
	}
	return passed, failed, skipped
}

func (o *outcome) parent(t *test) bool {
	return slices.ContainsFunc(o.tests, func(u *test) bool { return strings.HasPrefix(u.name, t.name+"/") })
}

// failures are the tests that failed, without those of which only a subtest did.
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

// place is the file and line before what a test says, as go test prints it.
var place = regexp.MustCompile(`^\s+[\w.-]+\.go:\d+: `)

// said is what the test said, without the lines of go test itself.
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
