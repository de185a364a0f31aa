package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"bluez-esphome/tests/harness"
)

// module is the beginning of the import paths of this module.
const module = "bluez-esphome/"

// A package that takes longer than this hangs, and is ended. The longest takes 4 minutes on two quiet processors. All
// of make test took half an hour on the busiest machine that it ran on. By night there is more to do.
const (
	timeout        = 20 * time.Minute
	nightlyTimeout = 90 * time.Minute
)

// long are the packages that take longest. They begin first, so that none of them runs alone at the end.
var long = []string{"tests/page", "tests/hostile", "tests/install", "tests/connections", "tests/bench", "tests/clients", "internal/bluezshim", "tests/faults", "tests/stream", "tests/firmware",
	"tests/controller", "tests"}

// withoutRace are packages whose tests only attack or measure other processes, and use all processor time for that. The
// race detector would slow the attackers down and watch only them.
var withoutRace = []string{"tests/hostile"}

// runner runs the parts of make test.
type runner struct {
	root     string
	logs     string
	uncached bool
	nightly  bool
	jobs     int
	timeout  time.Duration // of each package or other part
	env      []string
	out      *printer
	begun    time.Time

	mu   sync.Mutex
	list []*outcome
}

// all runs the parts and gives their results.
func (r *runner) all(ctx context.Context, parts []string) *summary {
	has := func(p string) bool { return slices.Contains(parts, p) }
	stop := r.out.alive()
	defer stop()
	if has("system") {
		if !r.build(ctx) {
			return r.summary()
		}
	}
	var wg sync.WaitGroup
	if has("golden") { // it mostly waits, and can run beside go test
		wg.Go(func() { r.command(ctx, "golden", "make test-golden", "go", "run", "./tests/golden", "-check") })
	}
	if has("system") {
		// Their results depend on the program and on what is installed. go test sees neither, and would take results
		// from its cache.
		fast, others := r.apart(r.packages(ctx, true))
		wg.Go(func() { r.goTest(ctx, fast, "-count=1") })
		wg.Go(func() { r.goTest(ctx, others, "-race", "-count=1", fmt.Sprint("-p=", r.jobs-1)) })
	}
	if has("unit") {
		flags := []string{"-race"}
		if r.uncached {
			flags = append(flags, "-count=1")
		}
		r.goTest(ctx, r.packages(ctx, false), flags...) // as many at a time as there are cores
		alone := narrow(runtime.GOARCH)
		r.command(ctx, "32 bits", strings.Join(alone, " "), "env", alone...)
	}
	if has("vectors") {
		r.command(ctx, "vectors", "sh scripts/vectors.sh", "sh", "scripts/vectors.sh")
	}
	wg.Wait()
	return r.summary()
}

// narrow is the command that tests the packages that compute with lengths from peers, with an int of 32 bits as on a
// Raspberry Pi. Where such a program cannot run, it is only built and vetted.
func narrow(goarch string) []string {
	verb := "test"
	if goarch != "amd64" && goarch != "386" {
		verb = "vet"
	}
	return []string{"GOARCH=386", "CGO_ENABLED=0", "go", verb, "./internal/dbusobj", "./internal/apiwire", "./internal/ble"}
}

func (r *runner) summary() *summary {
	return &summary{outcomes: r.list, took: time.Since(r.begun), logs: r.logs}
}

// build builds the program that all packages test, with and without the race detector.
func (r *runner) build(ctx context.Context) bool {
	begun := time.Now()
	r.out.begin("the program")
	dir := filepath.Join(r.logs, "program")
	err := harness.BuildAll(dir)
	o := &outcome{name: "the program", alone: "make build", action: "pass", took: time.Since(begun)}
	if err != nil {
		o.action, o.output = "fail", []string{err.Error()}
	}
	r.env = append(r.env, harness.ProgramEnv+"="+dir)
	r.ended(o)
	return err == nil && ctx.Err() == nil
}

// packages lists the packages that drive the program if system, and the others if not; long ones come first.
func (r *runner) packages(ctx context.Context, system bool) []string {
	cmd := exec.CommandContext(ctx, "go", "list", "./...")
	cmd.Dir = r.root
	out, err := cmd.Output()
	if err != nil {
		r.ended(&outcome{name: "go list", alone: "go list ./...", action: "fail", output: []string{err.Error()}})
		return nil
	}
	var list []string
	for _, p := range strings.Fields(string(out)) {
		name := strings.TrimPrefix(p, module)
		if system == (name == "tests" || strings.HasPrefix(name, "tests/")) {
			list = append(list, "./"+name)
		}
	}
	rank := func(p string) int {
		if i := slices.Index(long, strings.TrimPrefix(p, "./")); i >= 0 {
			return i
		}
		return len(long)
	}
	slices.SortStableFunc(list, func(a, b string) int { return rank(a) - rank(b) })
	return list
}

// apart separates the packages whose tests run without the race detector from the others. By night all run with it.
func (r *runner) apart(packages []string) (fast, others []string) {
	for _, p := range packages {
		if !r.nightly && slices.Contains(withoutRace, strings.TrimPrefix(p, "./")) {
			fast = append(fast, p)
		} else {
			others = append(others, p)
		}
	}
	return fast, others
}

// goTest runs go test on packages.
func (r *runner) goTest(ctx context.Context, packages []string, flags ...string) {
	if len(packages) == 0 {
		return
	}
	args := slices.Concat([]string{"test", "-json", "-shuffle=on", "-timeout", r.timeout.String()}, flags, packages)
	cmd := r.cmd(ctx, "go", args...)
	events, err := cmd.StdoutPipe()
	if err != nil {
		r.ended(&outcome{name: "go test", action: "fail", output: []string{err.Error()}})
		return
	}
	complaints := new(strings.Builder)
	cmd.Stderr = complaints
	if err := cmd.Start(); err != nil {
		r.ended(&outcome{name: "go test", action: "fail", output: []string{err.Error()}})
		return
	}
	in := newReader()
	failed := false
	in.started = func(name string) { r.out.begin(strings.TrimPrefix(name, module)) }
	in.done = func(o *outcome) {
		failed = failed || o.action == "fail"
		o.name = strings.TrimPrefix(o.name, module)
		o.how = "go test -count=1"
		if slices.Contains(flags, "-race") {
			o.how = "go test -race -count=1"
		}
		o.alone = o.how + " ./" + o.name
		r.ended(o)
	}
	rest, _ := in.read(events)
	err = cmd.Wait()
	if err != nil && !failed && ctx.Err() == nil { // a wrong flag, or a package that does not exist
		r.ended(&outcome{name: "go test", alone: "go vet ./...", action: "fail", output: append(rest, complaints.String(), err.Error())})
	}
}

// command runs a part that is not a Go test.
func (r *runner) command(ctx context.Context, name, alone, program string, args ...string) {
	r.out.begin(name)
	begun := time.Now()
	o := &outcome{name: name, alone: alone, action: "pass"}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	cmd := r.cmd(ctx, program, args...)
	out, err := cmd.CombinedOutput()
	o.took = time.Since(begun)
	o.output = []string{string(out)}
	if err != nil {
		o.action = "fail"
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("it hung: it still ran after %v (%w)", r.timeout, err)
		}
		o.output = append(o.output, err.Error())
	}
	r.ended(o)
}

// cmd makes a command that runs in the repository. When ctx ends, it and all processes that it started are ended.
func (r *runner) cmd(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = r.root, r.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// ended adds an outcome to the summary, writes its log and prints its line.
func (r *runner) ended(o *outcome) {
	o.log = filepath.Join(r.logs, strings.NewReplacer("/", "_", " ", "_").Replace(o.name)+".log")
	if err := o.write(o.log); err != nil {
		o.log = ""
	}
	r.mu.Lock()
	r.list = append(r.list, o)
	r.mu.Unlock()
	r.out.end(o)
}

// write writes the complete output of the package.
func (o *outcome) write(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for _, t := range o.tests {
		_, _ = io.WriteString(f, strings.Join(t.output, ""))
	}
	_, _ = io.WriteString(f, strings.Join(o.output, ""))
	return f.Close()
}
