package main

import (
	"context"
	"strings"
	"time"

	"bluez-esphome/internal/privatebus"
	"bluez-esphome/internal/status"

	"github.com/spf13/cobra"
)

// completeTimeout is how long a shell waits for names.
const completeTimeout = 2 * time.Second

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeNames offers the names of proxies, if they are wanted, and of devices, as the running daemon knows them.
// Devices without a name are offered by address, and so are all once an address is begun.
func completeNames(proxies bool) completion {
	return func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		r := askForCompletion(c)
		if r == nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		if proxies {
			out = proxyNames(r)
		}
		for _, h := range r.Heard {
			name := h.Name
			if name == "" || begun != "" && strings.HasPrefix(strings.ToLower(h.Address), strings.ToLower(begun)) {
				name = h.Address
			}
			out = append(out, cobra.CompletionWithDesc(printable(name), h.Address))
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeProxies offers the names of proxies alone.
func completeProxies(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if r := askForCompletion(c); r != nil && len(args) == 0 {
		return proxyNames(r), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func proxyNames(r *status.Report) (out []string) {
	for _, p := range r.Proxies {
		out = append(out, cobra.CompletionWithDesc(printable(p.Name), p.State))
	}
	return out
}

// askForCompletion asks the daemon that the command would ask; nil if there is none.
func askForCompletion(c *cobra.Command) *status.Report {
	parent := c.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completeTimeout)
	defer cancel()
	bus, _ := c.Flags().GetString("bus")
	r, err := status.Find(ctx, bus)
	if err != nil {
		return nil
	}
	return r
}

// completeFlags offers the values of flags that have a set of them.
func completeFlags(c *cobra.Command) {
	offer := func(flag string, f completion) {
		if c.Flags().Lookup(flag) != nil {
			_ = c.RegisterFlagCompletionFunc(flag, f) // it fails for a flag that does not exist
		}
	}
	fixed := func(values ...string) completion {
		return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	}
	offer("bus", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return append([]string{"system", "private"}, privatebus.TemporaryAddresses()...), cobra.ShellCompDirectiveNoFileComp
	})
	offer("log-level", fixed("debug", "info", "warn", "error"))
	offer("sort", fixed(status.Sorts...))
	if c.Name() == "devices" {
		offer("proxy", func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return completeProxies(c, nil, "")
		})
	}
}
