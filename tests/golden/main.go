// Command golden plays the recorded scenarios of bluetoothd against this program and compares. The recordings and their
// driver are in testdata, where README.md tells how they came about.
//
// Each scenario gets a simulated proxy, a bus and a daemon of its own; since scenarios mostly
// wait, several run at a time. Every differing line needs a reason by the rules of reasons.json; one without
// is a failure. The result is written to docs/evidence/conformance.md.
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

	played, section string
}

func run(ctx context.Context) error {
	var o options
	flag.IntVar(&o.lanes, "lanes", 7, "how many scenarios run at a time")
	flag.BoolVar(&o.check, "check", false, "write nothing")
	flag.BoolVar(&o.full, "full", false, "compare with every set of recordings, once more in a crowd and once more with GOMAXPROCS=1")
	flag.StringVar(&o.only, "only", "", "scenarios to play, separated by commas; write nothing")
	flag.StringVar(&o.keep, "keep", "", "folder to leave our recordings in")
	flag.StringVar(&o.bin, "bin", "", "play against this binary instead of one built from the tree")
	flag.StringVar(&o.played, "played", "", "play nothing: compare what make test-controller recorded in this folder, on bluetoothd with a controller of ours")
	flag.StringVar(&o.section, "section", "", "with -played: file to write the result to")
	flag.Parse()

	root, err := harness.Root()
	if err != nil {
		return err
	}
	golden := filepath.Join(root, "tests", "golden", "testdata")
	work, err := os.MkdirTemp("", "beg")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if o.bin == "" && o.played == "" {
		o.bin, err = harness.Build(work)
		if err != nil {
			return err
		}
	}
	p := &player{bin: o.bin, golden: golden, python: filepath.Join(root, ".venv", "bin", "python"), work: work,
		peripherals: filepath.Join(root, "internal", "proxysim", "testdata", "golden-peripheral.json")}
	if o.played != "" {
		return p.judge(ctx, o, filepath.Join(root, "docs", "controller.md"))
	}
	p.reasons, err = loadReasons(reasonsFile, filepath.Join(root, "docs", "quirks.md"))
	if err != nil {
		return err
	}
	out := filepath.Join(work, "out")
	if o.keep != "" {
		out, err = filepath.Abs(o.keep)
		if err != nil {
			return err
		}
	}
	doc := filepath.Join(root, "docs", "evidence", "conformance.md")
	write := !o.check && o.only == ""
	if o.full {
		return p.runFull(ctx, o, out, doc, write)
	}
	cases, err := plan(golden, false, o.only)
	if err != nil {
		return err
	}
	results, err := p.run(ctx, mode{lanes: o.lanes, out: out}, cases)
	if err != nil {
		return err
	}
	if write {
		_, last, _ := strings.Cut(read(doc), fullMark)
		if err := os.WriteFile(doc, []byte(render(p.reasons, results)+fullMark+last), 0o644); err != nil {
			return err
		}
	}
	return verdictOf(results)
}

// run plays cases and says how it went.
func (p *player) run(ctx context.Context, m mode, cases []scenario) ([]result, error) {
	begin := time.Now()
	results, err := p.play(ctx, m, cases)
	if err != nil {
		return nil, err
	}
	total, bad := 0, 0
	for _, r := range results {
		n, u := r.count()
		total, bad = total+n, bad+u
	}
	fmt.Printf("golden: %s%d scenarios, %d differing lines, %d unexplained, %s\n", m.name, len(results), total, bad, time.Since(begin).Round(time.Second))
	return results, nil
}

// verdictOf is an error if anything is unexplained.
func verdictOf(results []result) error {
	var bad []string
	for _, r := range results {
		if r.failed() {
			bad = append(bad, r.unexplained())
		}
	}
	if len(bad) > 0 {
		return errors.New("differences without a reason in tests/golden/reasons.json:\n" + strings.Join(bad, ""))
	}
	return nil
}

// fullMark begins the document's last section.
const fullMark = "\n## The long run\n"

// runFull plays everything against every set, once more in a crowd, once more with one processor.
func (p *player) runFull(ctx context.Context, o options, out, doc string, write bool) error {
	all, err := plan(p.golden, true, o.only)
	if err != nil {
		return err
	}
	cases, err := plan(p.golden, false, o.only)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(fullMark + "\nWritten by `make test-golden-full`.\n")
	var bad []error
	for _, m := range []struct {
		mode
		title string
		cases []scenario
	}{
		{mode{lanes: o.lanes, out: out}, "Every set of recordings: LE-only, dual-mode and experimental", all},
		{mode{name: "in a crowd: ", lanes: min(o.lanes, 4), out: out + "-crowd", background: true},
			fmt.Sprintf("While 3 proxies stream the adverts of %d other devices, 2,000 a second", crowdDevices), cases},
		{mode{name: "one processor: ", lanes: o.lanes, out: out + "-one", env: []string{"GOMAXPROCS=1"}}, "With GOMAXPROCS=1", cases},
	} {
		results, err := p.run(ctx, m.mode, m.cases)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "\n### %s\n\n", m.title)
		section(&b, sorted(results))
		bad = append(bad, verdictOf(results))
	}
	if write {
		first, _, _ := strings.Cut(read(doc), fullMark)
		if err := os.WriteFile(doc, []byte(first+b.String()), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(bad...)
}

// read gives a file's text, or nothing.
func read(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
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
			s.length, err = length(f)
			if err != nil {
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

// sets are the sets of recordings. The first is the default.
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
