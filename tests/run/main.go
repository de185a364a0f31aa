package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"bluez-esphome/internal/filelock"
	"bluez-esphome/tests/harness"
)

// errFailed says that something failed. The summary has said what.
var errFailed = errors.New("tests failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx)
	stop()
	if errors.Is(err, errFailed) {
		os.Exit(1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(2)
	}
}

// options are the command line.
type options struct {
	parts   string
	logs    string
	result  string
	uncache bool
	nightly bool
	jobs    int
}

func run(ctx context.Context) error {
	var o options
	flag.StringVar(&o.parts, "parts", "unit,system,vectors,golden", "what to run, separated by commas")
	flag.StringVar(&o.logs, "logs", filepath.Join("bin", "test"), "folder for complete outputs, in the repository unless absolute; it is emptied first")
	flag.StringVar(&o.result, "result", "", "file for the result as JSON, besides")
	flag.BoolVar(&o.uncache, "uncached", false, "run unit tests even if go test has their result")
	flag.BoolVar(&o.nightly, "nightly", false, "the long variants of tests too")
	flag.IntVar(&o.jobs, "jobs", 5, "how many packages that drive the program run at a time")
	flag.Parse()
	parts := strings.Split(o.parts, ",")
	for _, p := range parts {
		if !slices.Contains([]string{"unit", "system", "vectors", "golden"}, p) {
			return fmt.Errorf("there is no part %q", p)
		}
	}
	root, err := harness.Root()
	if err != nil {
		return err
	}
	if !filepath.IsAbs(o.logs) {
		o.logs = filepath.Join(root, o.logs)
	}
	unlock, err := lock(o.logs + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.RemoveAll(o.logs); err != nil {
		return fmt.Errorf("cannot empty the folder of logs: %w", err)
	}
	if err := os.MkdirAll(o.logs, 0o755); err != nil {
		return fmt.Errorf("cannot make the folder of logs: %w", err)
	}
	r := &runner{root: root, logs: o.logs, uncached: o.uncache, nightly: o.nightly, jobs: o.jobs, timeout: timeout, out: newPrinter(os.Stdout), begun: time.Now()}
	r.env = append(os.Environ(), harness.LogsEnv+"="+o.logs)
	if o.nightly {
		r.timeout = nightlyTimeout
		r.env = append(r.env, harness.NightlyEnv+"=1")
	}
	s := r.all(ctx, parts)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	s.print(os.Stdout, root)
	if o.result != "" {
		if err := s.save(o.result); err != nil {
			return err
		}
	}
	if s.failed() {
		return errFailed
	}
	return nil
}

// lock keeps a second run out of the folder of logs, which also holds the program under test.
func lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the folder of logs: %w", err)
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("cannot make the lock of the logs: %w", err)
	}
	if err := filelock.Try(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("make test runs in this folder already, and has locked %s; wait until it has ended", path)
	}
	return func() { filelock.Release(f) }, nil
}
