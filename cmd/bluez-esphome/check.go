package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/mdns"

	"github.com/spf13/cobra"
)

// defaultTryTimeout is how long check --try waits for each proxy: a weak one needs seconds for its handshake.
const defaultTryTimeout = 20 * time.Second

func newCheck() *cobra.Command {
	var (
		path           string
		try            bool
		timeout        time.Duration
		interfaceNames []string
	)
	c := &cobra.Command{
		Use: "check [FILE]", Short: "read a configuration and report all mistakes in it",
		Long: `check reads a configuration and reports all mistakes in it, each with line and remedy. With --try it also connects to
each proxy once and shows what it found. It subscribes to nothing: a host that uses a proxy keeps it.`,
		Example: "  bluez-esphome check --try my.yaml",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return &usageError{fmt.Errorf("check takes one file, but got %q", args)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				if c.Flags().Changed("config") {
					return &usageError{fmt.Errorf("check takes one file, but got %q and --config %s", args[0], path)}
				}
				path = args[0]
			}
			if timeout <= 0 || timeout > maxDiscoverTime {
				return &usageError{fmt.Errorf("--timeout %v: want more than 0, at most %v", timeout, maxDiscoverTime)}
			}
			interfaces, err := multicastInterfaces(interfaceNames)
			if err != nil {
				return err
			}
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(c.OutOrStdout(), "warning:", w)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is valid: %s\n", path, listProxies(cfg.Proxies))
			if !try {
				return nil
			}
			return tryProxies(c.Context(), c.OutOrStdout(), cfg, timeout, interfaces)
		},
	}
	f := c.Flags()
	f.StringVar(&path, "config", config.DefaultPath, "configuration file")
	f.BoolVar(&try, "try", false, "connect to each proxy once, and show what it found; status 1 if one cannot be used")
	f.DurationVar(&timeout, "timeout", defaultTryTimeout, "with --try: how long to wait for each proxy")
	f.StringArrayVar(&interfaceNames, "interface", nil, "with --try: network interface for .local names; repeatable (default: all but loopback)")
	return c
}

// multicastInterfaces gives the network interfaces with those names; all but loopback if there are none.
func multicastInterfaces(names []string) (func() ([]net.Interface, error), error) {
	if len(names) == 0 {
		return mdns.RealInterfaces, nil
	}
	named := mdns.NamedInterfaces(names...)
	if _, err := named(); err != nil {
		return nil, &usageError{err}
	}
	return named, nil
}

// listProxies names the proxies of a configuration in a line.
func listProxies(proxies []config.Proxy) string {
	names := make([]string, len(proxies))
	for i, p := range proxies {
		names[i] = label(p)
	}
	switch len(names) {
	case 0:
		return "no proxies"
	case 1:
		return "1 proxy (" + names[0] + ")"
	}
	return fmt.Sprintf("%d proxies (%s)", len(names), strings.Join(names, ", "))
}

// label is what a proxy is called before it has said its name: by its configured name, else by its address, which no
// two proxies share.
func label(p config.Proxy) string {
	if p.Name != "" {
		return p.Name
	}
	if p.Port == config.DefaultPort {
		return p.Host
	}
	return address(p)
}

// address is where a proxy is, HOST:PORT.
func address(p config.Proxy) string {
	return net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port)))
}
