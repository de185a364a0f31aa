package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/daemon"
	"bluez-esphome/internal/demo"
	"bluez-esphome/internal/logger"
	"bluez-esphome/internal/mdns"
	"bluez-esphome/internal/proxysim"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// A configError is a configuration that cannot be read at all.
type configError struct{ error }

func (e *configError) Unwrap() error { return e.error }

// loadConfig reads the configuration that --config names, or the one at its usual place.
func loadConfig(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, &configError{err}
	}
	return cfg, nil
}

// profiles is a switch for developers, and no key of the configuration.
func profiles() bool { return os.Getenv("BLUEZ_ESPHOME_PPROF") == "1" }

func newRun() *cobra.Command {
	var path, bus string
	var vhci bool
	c := &cobra.Command{
		Use: "run", Short: "connect to the configured proxies and serve org.bluez",
		Long: `run connects to the proxies of the configuration and serves org.bluez until SIGTERM or Ctrl-C. With --bus private it starts a D-Bus
of its own and prints its address, which programs take from the environment. On the system bus bluetoothd has to be stopped first.

SIGHUP makes it read the configuration again and apply the changes at once; proxies that did not change keep their sessions and links.
systemctl reload sends that signal to a unit, and says what is wrong with the file.`,
		RunE: func(c *cobra.Command, _ []string) error {
			noCore()
			load := func() (*config.Config, error) {
				cfg, err := loadConfig(path)
				if err == nil && bus != "" {
					if cfg.Bus, err = config.ParseBus(bus); err != nil {
						err = &usageError{fmt.Errorf("--bus %q: %w", bus, err)}
					}
				}
				if err == nil && vhci {
					cfg.OfferVHCI()
				}
				return cfg, err
			}
			hup := make(chan os.Signal, 1) // one that comes while we start waits
			signal.Notify(hup, syscall.SIGHUP)
			defer signal.Stop(hup)
			cfg, err := load()
			if err != nil {
				return err
			}
			ready := make(chan struct{})
			started := sync.OnceFunc(func() { close(ready) })
			log := logger.New(os.Stderr, cfg.Log)
			d := daemon.New(daemon.Options{
				Config: cfg, Version: version, Logger: log, Profiles: profiles(),
				Ready: func(address string) {
					started()
					if cfg.Bus == config.BusPrivate {
						fmt.Fprintf(c.OutOrStdout(), "DBUS_SYSTEM_BUS_ADDRESS=%s\n", address)
					}
				},
			})
			// The end of the work ends the reloads, also where it did not become ready.
			ctx, cancel := context.WithCancel(c.Context())
			reloads := make(chan struct{})
			go func() {
				defer close(reloads)
				reload(ctx, ready, hup, load, d, reportVerdict)
			}()
			err = d.Run(c.Context())
			cancel()
			<-reloads
			return err
		},
	}
	c.Flags().StringVar(&path, "config", config.DefaultPath, "configuration file")
	c.Flags().StringVar(&bus, "bus", "", "system, private, none or unix:path=PATH; overrides the configuration")
	c.Flags().BoolVar(&vhci, "vhci", false, "be a Bluetooth controller of this kernel, as with hci: [{vhci: true}]")
	return c
}

func newDemo() *cobra.Command {
	var command, level string
	c := &cobra.Command{
		Use: "demo", Short: "run with two simulated proxies on a bus of its own",
		Long: `demo starts two simulated proxies (one plaintext, one encrypted), a private bus and the daemon, and shows
who hears what. With --exec it runs a shell command with DBUS_SYSTEM_BUS_ADDRESS set, stops everything
and exits with the command's status.`,
		RunE: func(c *cobra.Command, _ []string) error {
			var log config.Log
			if err := log.Level.UnmarshalText([]byte(level)); err != nil {
				return &usageError{fmt.Errorf("--log-level %q: want debug, info, warn or error", level)}
			}
			return demo.Run(c.Context(), demo.Options{
				Exec: command, Version: version, Out: c.OutOrStdout(),
				Live: term.IsTerminal(int(os.Stdout.Fd())), Log: logger.New(os.Stderr, log),
				Profiles: profiles(),
			})
		},
	}
	c.Flags().StringVar(&command, "exec", "", "shell command to run on the demo's bus")
	c.Flags().StringVar(&level, "log-level", "warn", "debug, info, warn or error")
	return c
}

func newSimulate() *cobra.Command {
	var (
		peripherals, control, listen, name string
		proxies                            []string
		announce                           bool
		announceOn                         []string
	)
	c := &cobra.Command{
		Use: "simulate", Short: "run simulated ESPHome Bluetooth proxies",
		Long: `simulate runs ESPHome Bluetooth proxies that exist only on TCP, with peripherals from a file, or those of the demo.
They behave as the firmware of their version does. All share one air.

Each --proxy is NAME=ADDR:PORT[,OPTION]…, where an option is one of:
` + proxysim.SpecHelp(),
		RunE: func(c *cobra.Command, _ []string) error {
			opts := proxysim.Options{ControlDir: control, Log: logger.New(os.Stderr, config.Log{})}
			if listen != "" {
				proxies = append(proxies, name+"="+listen)
			}
			for _, s := range proxies {
				spec, err := proxysim.ParseProxySpec(s)
				if err != nil {
					return &usageError{err}
				}
				opts.Proxies = append(opts.Proxies, spec)
			}
			if len(opts.Proxies) == 0 {
				return &usageError{fmt.Errorf("simulate wants at least one --proxy NAME=ADDR:PORT, or --listen ADDR:PORT")}
			}
			var err error
			if peripherals == "" {
				opts.Peripherals, err = proxysim.DemoPeripherals()
			} else {
				opts.Peripherals, err = proxysim.LoadPeripherals(peripherals)
			}
			if err != nil {
				return err
			}
			opts.Ready = func(s *proxysim.Simulation) {
				for _, p := range s.Proxies() {
					fmt.Fprintf(c.OutOrStdout(), "proxy %s listens on %s\n", p.Name(), s.Addr(p.Name()))
				}
			}
			if announce {
				opts.Announce = mdns.RealInterfaces
				if len(announceOn) > 0 {
					opts.Announce = mdns.NamedInterfaces(announceOn...)
				}
			}
			return proxysim.Simulate(c.Context(), opts)
		},
	}
	f := c.Flags()
	f.StringVar(&peripherals, "peripherals", "", "peripheral file (default: the demo's peripherals)")
	f.StringArrayVar(&proxies, "proxy", nil, "NAME=ADDR:PORT[,OPTION]…, with the options above; repeatable")
	f.StringVar(&control, "control", "", "folder for one control socket per peripheral")
	f.StringVar(&listen, "listen", "", "ADDR:PORT of one plain proxy")
	f.BoolVar(&announce, "mdns", false, "announce the proxies by multicast DNS, as devices do")
	f.StringArrayVar(&announceOn, "mdns-interface", nil, "network interface to announce on; repeatable (default: all but loopback)")
	f.StringVar(&name, "name", "proxy", "name of the proxy of --listen")
	return c
}
