// Command stress runs the whole of make test again and again on a machine that is kept busy: beside two programs that
// do nothing but compute, at two priorities and with GOMAXPROCS 1, 2 and 8 in turn. It stops nothing at a failure. Each
// run is a row of docs/evidence/stress.md; the runs that are asked for are counted by commit, so that what was stopped
// goes on where it was. The logs of a run that fails stay in bin/stress-logs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bluez-esphome/tests/harness"
)

// burners is how many programs compute beside the tests.
const burners = 2

// settings are those of one run. Nice 5 has a third of the weight of 0, so that each burner takes three times as much
// as a test.
type settings struct{ procs, nice int }

// turn gives the settings of run n, from 0 on: each GOMAXPROCS with each priority within six runs.
func turn(n int) settings {
	return settings{procs: []int{1, 2, 8}[n%3], nice: []int{0, 5}[n%2]}
}

// result is what tests/run leaves with -result.
type result struct {
	Passed, Failed, Skipped int
	Seconds                 float64
	Failures                []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "stress:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	runs := flag.Int("runs", 10, "how many runs of this commit there are to be")
	flag.Parse()
	root, err := harness.Root()
	if err != nil {
		return err
	}
	commit, err := commitOf(ctx, root)
	if err != nil {
		return err
	}
	page := filepath.Join(root, "docs", "evidence", "stress.md")
	failed := 0
	for {
		r, err := load(page)
		if err != nil {
			return err
		}
		n := r.count(commit)
		if n >= *runs {
			break
		}
		s := turn(n)
		fmt.Printf("== run %d of %d at %s: GOMAXPROCS=%d, nice %d, %d burners\n", n+1, *runs, commit, s.procs, s.nice, burners)
		begun := time.Now()
		logs := filepath.Join(root, "bin", "stress-logs", fmt.Sprint(commit, "-", n+1))
		res, err := once(ctx, root, logs, s)
		if ctx.Err() != nil {
			return errors.New("interrupted; the next make test-stress goes on with this run")
		}
		if err != nil {
			return err
		}
		failed += res.Failed
		if res.Failed == 0 {
			if err := os.RemoveAll(logs); err != nil {
				return fmt.Errorf("cannot remove the logs: %w", err)
			}
		}
		// Read again: a run takes long, and somebody may have written to the page.
		r, err = load(page)
		if err != nil {
			return err
		}
		r.add(row{commit: commit, date: begun.UTC().Format("2006-01-02 15:04"), settings: s, result: res})
		if err := r.save(page); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d tests failed; docs/evidence/stress.md names them", failed)
	}
	return nil
}

// commitOf names the commit, with a plus sign if files differ from it; the page itself does not count.
func commitOf(ctx context.Context, root string) (string, error) {
	git := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = root
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	commit, err := git("rev-parse", "--short=9", "HEAD")
	if err != nil {
		return "", fmt.Errorf("cannot name the commit: %w", err)
	}
	changed, err := git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/evidence/stress.md")
	if err != nil {
		return "", fmt.Errorf("cannot see what is changed: %w", err)
	}
	if changed != "" {
		commit += "+"
	}
	return commit, nil
}

// once is one run, which leaves its logs in a folder of its own.
func once(ctx context.Context, root, logs string, s settings) (result, error) {
	var res result
	for range burners {
		b := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
		b.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := b.Start(); err != nil {
			return res, fmt.Errorf("cannot start a burner: %w", err)
		}
		defer func() {
			_ = b.Process.Kill()
			_ = b.Wait()
		}()
	}
	file, err := os.CreateTemp("", "stress-*.json")
	if err != nil {
		return res, fmt.Errorf("cannot make a file for the result: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_ = file.Close()
	cmd := exec.CommandContext(ctx, "nice", "-n", fmt.Sprint(s.nice), filepath.Join(root, "bin", "run-tests"), "-uncached", "-logs", logs, "-result", file.Name())
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), fmt.Sprint("GOMAXPROCS=", s.procs))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return res, fmt.Errorf("cannot run the tests: %w", err)
	}
	b, err := os.ReadFile(file.Name())
	if err == nil {
		err = json.Unmarshal(b, &res)
	}
	if err != nil {
		return res, fmt.Errorf("the tests left no result: %w", err)
	}
	return res, nil
}
