package main

import (
	"fmt"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/status"

	"github.com/spf13/cobra"
)

func newTake() *cobra.Command {
	var bus string
	c := &cobra.Command{
		Use: "take PROXY", Short: "take a proxy from whichever host has it",
		Long: `take makes the running daemon take a proxy at once, also from another host such as Home Assistant,
which gets nothing from it any more and is not told. Firmware up to ESPHome 2026.6 does not allow that: the other host
has to leave the proxy. Afterwards on_conflict holds again: a host that takes the proxy back keeps it. Nothing is
needed to use a proxy that no host has any more: the daemon asks each minute, and at once when it reloads; firmware
2026.7 does not tell, and is tried after half an hour.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{fmt.Errorf("take wants the name of one proxy, but got %q", args)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if bus != "" {
				if _, err := config.ParseBus(bus); err != nil {
					return &usageError{fmt.Errorf("--bus %q: %w", bus, err)}
				}
			}
			r, err := status.Find(c.Context(), bus)
			if err != nil {
				return err
			}
			if err := r.Take(c.Context(), args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "asked for %s; bluez-esphome status %s shows whether it worked\n", args[0], args[0])
			return err
		},
	}
	c.ValidArgsFunction = completeProxies
	c.Flags().StringVar(&bus, "bus", "", "the bus to ask: system, private, or an address")
	return c
}
