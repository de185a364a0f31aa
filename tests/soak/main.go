package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"bluez-esphome/tests/harness"
)

// options are the command line.
type options struct {
	duration time.Duration
	race     bool
	check    bool
	bin      string
	keep     string
	seed     uint64
}

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", time.Hour, "how long the load lasts, at least a minute")
	flag.BoolVar(&o.race, "race", false, "build the daemon with the race detector; memory is then not judged")
	flag.BoolVar(&o.check, "check", false, "do not write docs/evidence/soak.md")
	flag.StringVar(&o.bin, "bin", "", "soak this binary instead of one built from the tree")
	flag.StringVar(&o.keep, "keep", "", "folder to leave the daemon's log and the samples in")
	flag.Uint64Var(&o.seed, "seed", 1, "of everything that is random")
	flag.Parse()
	if o.duration < time.Minute || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// A soak is one run.
type soak struct {
	options
	root    string
	commit  string // that was built
	world   *world
	found   *findings
	tally   *tally
	started time.Time
	calm    chan struct{} // closed when the outages are over
	samples []sample
	ending  ending
}

var errFailed = errors.New("the soak found something; see above and the report")

func run(ctx context.Context, o options) error {
	root, err := harness.Root()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "besoak")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if o.bin == "" {
		var flags []string
		if o.race {
			flags = append(flags, "-race")
		}
		o.bin, err = harness.Build(work, flags...)
		if err != nil {
			return err
		}
	}
	if o.keep == "" {
		o.keep = work
	} else if o.keep, err = filepath.Abs(o.keep); err != nil {
		return err
	}
	s := &soak{options: o, root: root, commit: commitOf(root), found: newFindings(), tally: newTally(), calm: make(chan struct{})}
	place := filepath.Join(work, "run")
	if err := os.Mkdir(place, 0o755); err != nil {
		return err
	}
	s.world, err = newWorld(ctx, s, place)
	if err != nil {
		return err
	}
	defer s.world.close()
	if err := s.load(ctx); err != nil {
		return err
	}
	v := s.judge()
	text := s.report(v)
	fmt.Print(text)
	if !o.check {
		if err := s.publish(text); err != nil {
			return err
		}
	}
	if !v.ok() {
		return errFailed
	}
	return nil
}

// settle is how long everything has to be well again once the outages are over.
const settle = 90 * time.Second

// load puts everything to work, for as long as asked, then lets it settle and stops it.
func (s *soak) load(ctx context.Context) error {
	s.started = time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var air, clients sync.WaitGroup
	airCtx, stopAir := context.WithCancel(ctx)
	defer stopAir()
	air.Go(func() { s.churn(airCtx, s.rand(1)) })
	air.Go(func() { s.notify(airCtx, s.rand(2)) })
	air.Go(func() { s.outages(airCtx, s.rand(3)) })
	clientCtx, stopClients := context.WithCancel(ctx)
	defer stopClients()
	mirror := s.clients(clientCtx, &clients)

	s.sampling(ctx, mirror)
	if ctx.Err() != nil {
		stopClients()
		clients.Wait()
		stopAir()
		air.Wait()
		return errors.New("interrupted")
	}
	s.ending.links = s.tally.linked()
	stopClients()
	clients.Wait()
	stopAir()
	air.Wait()
	s.end(ctx)
	return nil
}

func (s *soak) rand(n uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, n)) }

// pause waits; it reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
