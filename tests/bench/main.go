package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bluez-esphome/tests/bench/floor"
	"bluez-esphome/tests/bench/load"
	"bluez-esphome/tests/bench/peer"
)

// options are the options of the command line.
type options struct {
	root, bin, python string
	simulator         string // the program that simulates the proxies of the row absent
	rounds            int
	quick             bool
	verbose           bool
	profiles          string // the folder for CPU profiles of the daemon, "" for none
}

// scale makes a count smaller for a trial run.
func (o *options) scale(n int) int {
	if o.quick {
		return max(1, n/20)
	}
	return n
}

func (o *options) log(format string, args ...any) {
	if o.verbose {
		fmt.Fprintf(os.Stderr, "  "+format+"\n", args...)
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if part := part(); part != nil {
		err = part(ctx, os.Args[2])
	} else if len(os.Args) > 1 && os.Args[1] == "fleet" {
		err = runFleet(ctx, os.Args[2:])
	} else {
		err = bench(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// part gives the function of a process that the harness started, nil for the harness itself.
func part() func(context.Context, string) error {
	if len(os.Args) != 3 {
		return nil
	}
	return map[string]func(context.Context, string) error{
		"load": runLoad, "floor": runFloor, "relay": runRelay, "reader": runReader,
		"emit":   func(ctx context.Context, bus string) error { return peer.Emit(ctx, bus, os.Stdin, os.Stdout) },
		"values": func(ctx context.Context, bus string) error { return peer.Values(ctx, bus, os.Stdin, os.Stdout) },
	}[os.Args[1]]
}

func runRelay(ctx context.Context, arg string) error {
	var c peer.RelayConfig
	if err := json.Unmarshal([]byte(arg), &c); err != nil {
		return err
	}
	return peer.Relay(ctx, c, os.Stdout)
}

func runLoad(ctx context.Context, arg string) error {
	var s load.Spec
	if err := json.Unmarshal([]byte(arg), &s); err != nil {
		return err
	}
	return load.Run(ctx, s, os.Stdin, os.Stdout)
}

func runFloor(ctx context.Context, arg string) error {
	var args struct {
		Addresses []string
		PSK       string
	}
	if err := json.Unmarshal([]byte(arg), &args); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() { // the end of its input ends the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return floor.Run(ctx, args.Addresses, args.PSK)
}

// rowTimeout is how long a row may take. After it, the next row is measured.
const rowTimeout = 20 * time.Minute

func bench(ctx context.Context) error {
	var o options
	flag.StringVar(&o.bin, "bin", "bin/bluez-esphome", "the program")
	flag.StringVar(&o.simulator, "simulator", "", "the program that plays the proxies of the row absent; -bin if empty. For an older -bin, whose own are less true")
	flag.StringVar(&o.python, "python", ".venv/bin/python", "the interpreter with the packages of tests/requirements.txt")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each is measured")
	flag.BoolVar(&o.quick, "quick", false, "one round with little load, to see that everything works; its figures mean nothing")
	flag.BoolVar(&o.verbose, "v", false, "tell of each measurement")
	flag.StringVar(&o.profiles, "profile", "", "put CPU profiles of the daemon, 2 s each, into this folder; it costs CPU, too")
	only := flag.String("rows", "", "rows to measure, with commas between them; all if empty")
	asJSON := flag.Bool("json", false, "print the results as JSON")
	out := flag.String("o", "", "write the report to this file")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 1 {
		return errors.New("usage: bench [flags], no arguments, at least one round")
	}
	if o.quick {
		o.rounds = 1
	}
	if err := o.paths(); err != nil {
		return err
	}
	todo := rows()
	if *only != "" {
		todo = nil
		for _, key := range strings.Split(*only, ",") {
			r, err := find(key)
			if err != nil {
				return err
			}
			todo = append(todo, r)
		}
	}
	w, err := newWorld(ctx, o)
	if err != nil {
		return err
	}
	defer w.close()
	rep := &report{Rounds: o.rounds, Rows: []*result{}}
	rep.Machine, err = newMachine(ctx, &o)
	if err != nil {
		return err
	}
	var failed []error
	for _, row := range todo {
		start := time.Now()
		fmt.Fprintf(os.Stderr, "== %s: %s\n", row.key, row.title)
		res := &result{Key: row.key, Title: row.title, About: row.about}
		w.row = row.key
		limited, cancel := context.WithTimeoutCause(ctx, rowTimeout, fmt.Errorf("not done within %v", rowTimeout))
		err := row.run(limited, w, res)
		if err != nil && ctx.Err() == nil && limited.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(limited), err)
		}
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed = append(failed, fmt.Errorf("row %s: %w", row.key, err))
			fmt.Fprintln(os.Stderr, "cannot measure:", err)
			continue
		}
		rep.Rows = append(rep.Rows, res)
		res.print(os.Stderr)
		fmt.Fprintf(os.Stderr, "   took %v\n", time.Since(start).Round(time.Second))
	}
	if *asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", " ")
		failed = append(failed, enc.Encode(rep))
	}
	if *out != "" {
		failed = append(failed, rep.write(*out))
	}
	return errors.Join(failed...)
}

// paths makes the paths absolute and checks that the files exist.
func (o *options) paths() (err error) {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("cannot find the repository: %w", err)
	}
	o.root = filepath.Dir(strings.TrimSpace(string(mod)))
	if o.simulator == "" {
		o.simulator = o.bin
	}
	for _, p := range []*string{&o.bin, &o.simulator, &o.python} {
		if !filepath.IsAbs(*p) {
			*p = filepath.Join(o.root, *p)
		}
		if _, err := os.Stat(*p); err != nil {
			return fmt.Errorf("cannot measure: %w (make bench makes it)", err)
		}
	}
	return nil
}
