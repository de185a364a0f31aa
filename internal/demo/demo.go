// Package demo shows the whole program without any hardware: two simulated
// proxies, one of them encrypted, a private bus, and the daemon.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/daemon"
	"bluez-esphome/internal/privatebus"
	"bluez-esphome/internal/proxysim"

	"golang.org/x/sync/errgroup"
)

// Options are what the demo needs. Out and Log must not be nil.
type Options struct {
	Exec    string // a shell command to run instead of the live table; empty for the table
	Version string
	Out     io.Writer
	Live    bool // Out is a terminal: the table is drawn over itself
	Log     *slog.Logger
	// Profiles adds pprof to the HTTP listener.
	Profiles bool
}

// ExitError carries the status of the command of Options.Exec.
type ExitError struct{ Status int }

func (e *ExitError) Error() string { return fmt.Sprintf("the command ended with status %d", e.Status) }

// killDelay is how long the command may take to end once the demo is stopped.
const killDelay = 2 * time.Second

// Run runs the demo until ctx ends or the command does, whose status is returned as an *ExitError unless
// it is 0. Everything that was started is stopped first.
func Run(ctx context.Context, opts Options) error {
	stateDir, removeState, err := privatebus.TempDir("bluez-esphome-demostate-")
	if err != nil {
		return fmt.Errorf("cannot make a folder for the demo's state: %w", err)
	}
	defer removeState()
	sim, devices, proxies, err := simulation(opts.Log)
	if err != nil {
		return err
	}
	bus, usual, err := openBus(ctx)
	if err != nil {
		sim.Close()
		return err
	}
	defer bus.Stop()
	page, err := openPage(ctx)
	if err != nil {
		sim.Close()
		return err
	}
	defer page.Close() // again, if the daemon had it
	cfg, err := config.Parse(fmt.Appendf(nil, demoConfig, bus.Address, stateDir, proxies[0].addr, proxies[1].addr, proxies[1].key), "demo")
	if err != nil {
		sim.Close()
		return err
	}
	cfg.Bus, cfg.StateDir = config.Bus(bus.Address), stateDir // whatever the environment says
	cfg.Warnings = nil                                        // of the key in the file that there is not

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var result error
	ready := make(chan string, 1)
	d := daemon.New(daemon.Options{
		Config: cfg, Version: opts.Version, Logger: opts.Log, Profiles: opts.Profiles, Listener: page, Ready: func(bus string) { ready <- bus },
	})
	g, gctx := errgroup.WithContext(ctx)
	simCtx, stopSim := context.WithCancel(context.WithoutCancel(ctx))
	simDone := make(chan error, 1)
	go func() { simDone <- sim.Run(simCtx) }()
	g.Go(func() error { return d.Run(gctx) })
	g.Go(func() error {
		defer cancel()
		select {
		case <-gctx.Done():
			return nil
		case bus := <-ready:
			if opts.Exec != "" {
				awaitProxies(gctx, d)
				result = execute(gctx, opts.Exec, bus, d.HTTP())
			} else {
				show(gctx, opts, d, devices, place{bus: bus, usualBus: usual, page: d.HTTP(), usualPage: isUsual(page)})
			}
			return nil
		}
	})
	err = g.Wait()
	stopSim() // the proxies go last, so that the daemon can say goodbye to them
	return errors.Join(err, <-simDone, result)
}

// How long the command waits for the proxies, and how often they are looked at.
const (
	proxiesTimeout = 5 * time.Second
	proxiesPoll    = 20 * time.Millisecond
)

// awaitProxies returns when both proxies have heard something, so that the command finds a running system.
func awaitProxies(ctx context.Context, d *daemon.Daemon) {
	ctx, cancel := context.WithTimeout(ctx, proxiesTimeout)
	defer cancel()
	for ctx.Err() == nil {
		heard := map[string]bool{}
		for _, dev := range d.Heard() {
			for _, s := range dev.Sources {
				heard[s.Proxy] = true
			}
		}
		if len(heard) == 2 {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(proxiesPoll):
		}
	}
}

type simulated struct{ addr, key string }

// demoConfig is the configuration of the demo.
const demoConfig = `
bus: "%s"
state_dir: %s
adapter_alias: ESPHome proxies
proxies:
  - {name: kitchen, address: "%s"}
  - {name: garage, address: "%s", noise_psk: "%s"}
`

// simulation starts the two proxies on loopback, and tells how many devices there are: kitchen in plaintext, garage
// with a key made for this run.
func simulation(log *slog.Logger) (sim *proxysim.Simulation, devices int, out [2]simulated, err error) {
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		log = slog.New(slog.DiscardHandler) // what devices log is for their owners
	}
	peripherals, err := proxysim.DemoPeripherals()
	if err != nil {
		return nil, 0, out, err
	}
	var key [32]byte
	rand.Read(key[:])
	specs := []proxysim.ProxySpec{
		{ProxyConfig: proxysim.ProxyConfig{Name: "kitchen", FriendlyName: "Kitchen"}, Listen: "127.0.0.1:0"},
		{ProxyConfig: proxysim.ProxyConfig{Name: "garage", FriendlyName: "Garage", Access: proxysim.Access{PSK: &key}}, Listen: "127.0.0.1:0"},
	}
	sim, err = proxysim.New(proxysim.Options{Peripherals: peripherals, Proxies: specs, Log: log})
	if err != nil {
		return nil, 0, out, err
	}
	out[0].addr = sim.Addr("kitchen").(*net.TCPAddr).String()
	out[1] = simulated{sim.Addr("garage").(*net.TCPAddr).String(), encodeKey(key)}
	return sim, len(peripherals), out, nil
}

// execute runs a shell command on the demo's bus and gives its status. It finds the live page by DEMO_URL.
func execute(ctx context.Context, command, bus, page string) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+bus, "DEMO_URL="+page)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return &ExitError{exit.ExitCode()}
	case errors.As(err, &exit): // ended by a signal: as a shell tells it
		return &ExitError{128 + int(exit.Sys().(syscall.WaitStatus).Signal())}
	case err != nil:
		return fmt.Errorf("cannot run the command: %w", err)
	}
	return nil
}
