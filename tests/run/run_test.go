package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"bluez-esphome/tests/harness"

	"github.com/google/go-cmp/cmp"
)

// sample is the files of a module in which tests pass, fail, are skipped and crash, and one package does not build.
var sample = map[string]string{
	"go.mod": "module bluez-esphome\n\ngo 1.26\n",
	"good/a_test.go": `package good
import "testing"
func TestGood(t *testing.T) { t.Run("one", func(*testing.T) {}); t.Run("two", func(*testing.T) {}) }
func TestSkipped(t *testing.T) { t.Skip("skipped: chromium is not installed (apt install chromium)") }
func TestSkippedToo(t *testing.T) { t.Log("a remark"); t.Skipf("chromium is not installed (apt install chromium)") }
`,
	"bad/a_test.go": `package bad
import "testing"
func TestGood(*testing.T) {}
func TestBad(t *testing.T) {
	t.Run("the good", func(*testing.T) {})
	t.Run("it's (bad)", func(t *testing.T) { for range 40 { t.Log("much") }; t.Error("one is two") })
}
`,
	"broken/a_test.go": "package broken\nvar _ = nothing\n",
	"crash/a_test.go":  "package crash\nimport \"testing\"\nfunc TestCrash(*testing.T) { panic(\"no\") }\n",
	"empty/a.go":       "package empty\n",
	"hang/a_test.go": `package hang
import "testing"
func TestHangs(t *testing.T) {
	t.Run("fine", func(*testing.T) {})
	t.Run("in it", func(t *testing.T) { t.Log("a remark"); wait(make(chan int)) })
}
func wait(ch chan int) { <-ch }
`,
}

// ran runs go test on the sample, and gives the summary and what the runner printed.
func ran(t *testing.T) (*runner, *summary, string) {
	t.Helper()
	root, logs := t.TempDir(), t.TempDir()
	for name, text := range sample {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	r := &runner{root: root, logs: logs, timeout: 20 * time.Second, out: newPrinter(&out), begun: time.Now()}
	r.env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	r.goTest(t.Context(), r.packages(t.Context(), false), "-race")
	r.command(t.Context(), "other", "sh other.sh", "sh", "-c", "echo all is well")
	r.command(t.Context(), "wrong", "sh wrong.sh", "sh", "-c", "echo out of order; exit 3")
	return r, r.summary(), out.String()
}

// Every part runs although others fail, and the summary tells of each.
func TestEverythingIsTold(t *testing.T) {
	t.Parallel()
	_, s, printed := ran(t)
	for _, want := range []string{
		`(?m)^ok   +\S+ s  good: 2 passed, 2 skipped$`, `(?m)^FAIL +\S+ s  bad: 2 passed, 1 failed$`, `(?m)^FAIL +\S+ s  broken$`,
		`(?m)^FAIL +\S+ s  crash: 0 passed, 1 failed$`, `(?m)^FAIL +\S+ s  hang: 1 passed, 1 failed$`, `(?m)^ok   +\S+ s  other$`, `(?m)^FAIL +\S+ s  wrong$`,
	} {
		if !regexp.MustCompile(want).MatchString(printed) {
			t.Errorf("no %q in what was printed", want)
		}
	}
	if strings.Contains(printed, "empty") {
		t.Error("a package without tests is told of")
	}
	var out bytes.Buffer
	s.print(&out, s.logs)
	text := out.String()
	for _, want := range []string{
		`passed: 2 of 7 packages and parts\n`, `failed: 5\n`,
		`  bad TestBad/it's_\(bad\)\n    … 33 lines\n(    .*much\n){7}    a_test.go:6: one is two\n    alone: go test -race -count=1 -run '\^TestBad\$/\^it\.s_\\\(bad\\\)\$' ./bad\n` +
			`    everything it said: bad.log\n`,
		`  broken\n(.*\n)*    broken/a_test.go:2:9: undefined: nothing\n(.*\n)*    alone: go test -race -count=1 \./broken\n`,
		`  crash TestCrash\n    panic: no`, `  wrong\n    out of order\n    exit status 3\n    alone: sh wrong.sh\n`,
		`  hang TestHangs/in_it\n    hung: it still ran after \S+, when the package's 20s were over\n` +
			`    goroutine \d+ \[chan receive.*\] in hang.wait \(a_test.go:7\), called by hang.TestHangs.func2 \(a_test.go:5\)\n    alone: .*\n`,
		`skipped: 2, because:\n  chromium is not installed \(apt install chromium\): good TestSkipped, good TestSkippedToo\n`,
		`took:   0 min \d\d s; longest: `, `\n6 passed, 5 failed, 2 skipped\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %q in the summary", want)
		}
	}
	if !s.failed() {
		t.Error("nothing failed")
	}
	if t.Failed() {
		t.Logf("printed:\n%s\nsummary:\n%s", printed, text)
	}
	if b, err := os.ReadFile(filepath.Join(s.logs, "bad.log")); err != nil || strings.Count(string(b), "much") != 40 {
		t.Errorf("the log is not complete: %d bytes, %v", len(b), err)
	}
	path := filepath.Join(t.TempDir(), "result.json")
	if err := s.save(path); err != nil {
		t.Fatal(err)
	}
	var res Result
	if b, err := os.ReadFile(path); err != nil || json.Unmarshal(b, &res) != nil {
		t.Fatalf("%s, %v", b, err)
	}
	res.Seconds = 0
	sorted := map[string]bool{}
	for _, f := range res.Failures {
		sorted[f] = true
	}
	res.Failures = nil
	if diff := cmp.Diff(Result{Passed: 6, Failed: 5, Skipped: 2}, res); diff != "" {
		t.Error(diff)
	}
	want := map[string]bool{
		"bad TestBad/it's_(bad)": true, "broken": true, "crash TestCrash": true, "hang TestHangs/in_it": true, "wrong": true,
	}
	if diff := cmp.Diff(want, sorted); diff != "" {
		t.Error(diff)
	}
}

// A run in which no package could even be listed has not passed.
func TestNothingIsNoSuccess(t *testing.T) {
	t.Parallel()
	if s := (&summary{}); !s.failed() {
		t.Error("nothing ran, and that passed")
	}
}

// A test that go test killed has no end of its own: it failed.
func TestWhatDidNotEndFailed(t *testing.T) {
	t.Parallel()
	r := newReader()
	var got *outcome
	r.done = func(o *outcome) { got = o }
	in := `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestHangs"}
{"Action":"output","Package":"p","Test":"TestHangs","Output":"panic: test timed out after 1s\n"}
{"Action":"fail","Package":"p","Elapsed":1.5}
what is no JSON
`
	rest, err := r.read(strings.NewReader(in))
	if err != nil || len(rest) != 1 || got == nil {
		t.Fatalf("%v %v %v", got, rest, err)
	}
	if _, failed, _ := got.counts(); failed != 1 || got.took != 1500*time.Millisecond {
		t.Errorf("%d failed, %v", failed, got.took)
	}
	if f := got.failures(); len(f) != 1 || f[0].name != "TestHangs" {
		t.Errorf("failures %v", f)
	}
}

// After a time without output, the printer says what still runs.
func TestStillRunning(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newPrinter(&out)
	p.begin("tests/slow")
	now := p.last
	p.running["tests/slow"] = now
	p.still(now.Add(silence - time.Second))
	if out.Len() > 0 {
		t.Errorf("said too early: %s", out.String())
	}
	p.still(now.Add(silence))
	p.still(now.Add(silence + time.Second))
	if got, want := out.String(), "...  still running: tests/slow (30 s)\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Two runs at once would replace each other's program.
func TestOneRunAtATime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bin", "test.lock")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(path); err == nil || !strings.Contains(err.Error(), "runs in this folder already") {
		t.Errorf("a second run: %v", err)
	}
	unlock()
	unlock, err = lock(path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// What runs without the race detector in make test runs with it by night.
func TestApart(t *testing.T) {
	t.Parallel()
	all := []string{"./tests/hostile", "./tests/page"}
	day, night := &runner{}, &runner{nightly: true}
	if fast, others := day.apart(all); !slices.Equal(fast, all[:1]) || !slices.Equal(others, all[1:]) {
		t.Errorf("by day %q and %q", fast, others)
	}
	if fast, others := night.apart(all); len(fast) > 0 || !slices.Equal(others, all) {
		t.Errorf("by night %q and %q", fast, others)
	}
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range withoutRace {
		if _, err := os.Stat(filepath.Join(root, p)); err != nil {
			t.Errorf("there is no package %s", p)
		}
	}
}

// go test puts the report of a hang into the output of the test that printed last, even if that one has passed. A test
// that only waited for its turn is not reported as hanging.
func TestHangIsFound(t *testing.T) {
	t.Parallel()
	said := "panic: test timed out after 20m0s\n\trunning tests:\n\t\tTestServe (19m59s)\n\n" +
		"goroutine 9 [running]:\ntesting.(*M).startAlarm.func1()\n\t/go/testing.go:2802 +0x605\n\n" +
		"goroutine 12 [chan receive, 19 minutes]:\nbluez-esphome/internal/capture.TestServe.func2(0xc000)\n\t/src/internal/capture/serve_test.go:40 +0x35\n" +
		"created by bluez-esphome/internal/capture.TestServe in goroutine 8\n\t/src/internal/capture/serve_test.go:30 +0x1\n\n" +
		"goroutine 13 [select]:\nbluez-esphome/internal/capture.TestServed(0xc000)\n\t/src/internal/capture/other_test.go:40 +0x35\n"
	fine, serve, later := &test{name: "TestFine", action: "pass", output: []string{said}}, &test{name: "TestServe"}, &test{name: "TestLater"}
	o := &outcome{name: "p", action: "fail", tests: []*test{fine, serve, later}}
	o.hung()
	want := []string{
		"hung: it still ran after 19m59s, when the package's 20m0s were over",
		"goroutine 12 [chan receive, 19 minutes] in capture.TestServe.func2 (serve_test.go:40)",
	}
	if diff := cmp.Diff(want, serve.gist()); diff != "" {
		t.Error(diff)
	}
	if got := later.gist(); len(got) != 1 || !strings.Contains(got[0], "waited for its turn") {
		t.Errorf("of the other: %q", got)
	}
	if fine.hung != nil {
		t.Errorf("of the one that passed: %q", fine.hung)
	}
}
