// Command golden plays the recorded scenarios of bluetoothd against this program and compares. The recordings
// and their driver are looked for in ../shared/golden beside the repository; where they are not there, it
// says so and does nothing.
//
// Each scenario gets a simulated proxy, a bus and a daemon of its own; since scenarios mostly
// wait, several run at a time. The result is written to docs/conformance.md, or with -check held
// against it.
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

	"bluez-esphome/tests/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "golden:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	lanes int
	check bool
	full  bool
	only  string
	keep  string
	bin   string
}

func run(ctx context.Context) error {
	var o options
	flag.IntVar(&o.lanes, "lanes", 7, "how many scenarios run at a time")
	flag.BoolVar(&o.check, "check", false, "fail if a scenario differs more than docs/conformance.md says; write nothing")
	flag.BoolVar(&o.full, "full", false, "compare with every set of recordings and print all; write nothing")
	flag.StringVar(&o.only, "only", "", "scenarios to play, separated by commas; write nothing")
	flag.StringVar(&o.keep, "keep", "", "folder to leave our recordings in")
	flag.StringVar(&o.bin, "bin", "", "play against this binary instead of one built from the tree")
	flag.Parse()

	root, err := harness.Root()
	if err != nil {
		return err
	}
	golden := filepath.Join(filepath.Dir(root), "shared", "golden")
	if _, err := os.Stat(filepath.Join(golden, "driver", "golden.py")); err != nil {
		fmt.Println("golden: no recordings beside the repository (../shared/golden): skipped")
		return nil
	}
	work, err := os.MkdirTemp("", "beg")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if o.bin == "" {
		if o.bin, err = harness.Build(work); err != nil {
			return err
		}
	}
	p := &player{
		bin: o.bin, golden: golden, python: filepath.Join(root, ".venv", "bin", "python"), work: work,
		out: filepath.Join(work, "out"),
	}
	if o.keep != "" {
		if p.out, err = filepath.Abs(o.keep); err != nil {
			return err
		}
	}
	cases, err := plan(golden, o.full, o.only)
	if err != nil {
		return err
	}
	begin := time.Now()
	results, err := p.play(ctx, cases, o.lanes)
	if err != nil {
		return err
	}
	total, same := 0, 0
	for _, r := range results {
		total += r.differing
		if r.differing == 0 && !r.missing {
			same++
		}
	}
	fmt.Printf("golden: %d of %d scenarios are the same, %d differing lines, %s\n", same, len(results), total, time.Since(begin).Round(time.Second))
	doc := filepath.Join(root, "docs", "conformance.md")
	switch {
	case o.check:
		return p.check(ctx, doc, results)
	case o.full || o.only != "":
		for _, r := range results {
			fmt.Println(r)
		}
		return nil
	}
	return os.WriteFile(doc, []byte(render(results)), 0o644)
}

// check fails if a scenario became worse than the document says. A scenario that did is played once more,
// alone: some depend on timing, and the machine may be busy.
func (p *player) check(ctx context.Context, doc string, results []result) error {
	known, err := counts(doc)
	if err != nil {
		return err
	}
	var worse []string
	for _, r := range results {
		limit, listed := known[r.name]
		if listed && !r.missing && r.differing <= limit {
			if r.differing < limit {
				fmt.Printf("golden: %s is better than committed: %d differing lines, not %d\n", r.name, r.differing, limit)
			}
			continue
		}
		again, err := p.play(ctx, []scenario{r.scenario}, 1)
		if err != nil {
			return err
		}
		if r = again[0]; listed && !r.missing && r.differing <= limit {
			fmt.Printf("golden: %s only held when it was played alone\n", r.name)
			continue
		}
		worse = append(worse, fmt.Sprintf("%s: committed are %d differing lines\n%s", r.name, limit, r))
	}
	if len(worse) > 0 {
		return errors.New("scenarios became worse (make test-golden writes docs/conformance.md anew):\n" + strings.Join(worse, "\n"))
	}
	return nil
}

// plan lists what to play: each recorded scenario once, or with full once for each set that
// has it, the longest first.
func plan(golden string, full bool, only string) ([]scenario, error) {
	var out []scenario
	for _, set := range sets {
		files, err := filepath.Glob(filepath.Join(golden, set, "*.json"))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			s := scenario{set: set, name: strings.TrimSuffix(filepath.Base(f), ".json")}
			if s.length, err = length(f); err != nil {
				return nil, err
			}
			if !full && set != reference(golden, s.name) || only != "" && !slices.Contains(strings.Split(only, ","), s.name) {
				continue
			}
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no such scenario")
	}
	slices.SortStableFunc(out, func(a, b scenario) int { return int(b.length - a.length) })
	return out, nil
}

// sets are the recordings, the first one the rule.
var sets = []string{"bluez-5.87", "bluez-5.87-dualmode", "bluez-5.87-experimental"}

// reference is the set that counts for a scenario. Discovery follows the dual-mode controller, which is what desktops
// have and clients are used to; monitors were recorded with experimental interfaces only.
func reference(golden, name string) string {
	has := func(set string) bool {
		_, err := os.Stat(filepath.Join(golden, set, name+".json"))
		return err == nil
	}
	discovery := strings.HasPrefix(name, "discovery_") || name == "matrix_discovery"
	if discovery && has(sets[1]) {
		return sets[1]
	}
	for _, set := range sets {
		if has(set) {
			return set
		}
	}
	return ""
}
