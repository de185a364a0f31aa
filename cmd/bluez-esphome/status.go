package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"bluez-esphome/internal/status"

	"github.com/spf13/cobra"
)

// watchInterval is how often status --watch asks.
const watchInterval = 2 * time.Second

func newStatus() *cobra.Command {
	var (
		bus           string
		asJSON, watch bool
	)
	c := &cobra.Command{
		Use: "status", Short: "show the proxies of the running daemon",
		RunE: func(c *cobra.Command, _ []string) error {
			out := c.OutOrStdout()
			for {
				var page bytes.Buffer
				err := report(c.Context(), screen{&page, out}, bus, asJSON, (*status.Report).PrintProxies)
				if err != nil {
					return err
				}
				if watch && isTerminal(out) {
					io.WriteString(out, clearScreen)
				}
				if _, err := page.WriteTo(out); err != nil || !watch {
					return err
				}
				select {
				case <-c.Context().Done():
					return nil
				case <-time.After(watchInterval):
				}
			}
		},
	}
	addReportFlags(c, &bus, &asJSON)
	c.Flags().BoolVar(&watch, "watch", false, "show it again every two seconds")
	return c
}

func newDevices() *cobra.Command {
	var (
		bus    string
		asJSON bool
	)
	c := &cobra.Command{
		Use: "devices", Short: "show the devices on the bus and which proxy hears them",
		RunE: func(c *cobra.Command, _ []string) error {
			return report(c.Context(), c.OutOrStdout(), bus, asJSON, (*status.Report).PrintDevices)
		},
	}
	addReportFlags(c, &bus, &asJSON)
	return c
}

func addReportFlags(c *cobra.Command, bus *string, asJSON *bool) {
	c.Flags().StringVar(bus, "bus", "", "bus of the daemon: system, private or an address (default: DBUS_SYSTEM_BUS_ADDRESS, the private bus, the system bus)")
	c.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

func report(ctx context.Context, w io.Writer, bus string, asJSON bool, show func(*status.Report, io.Writer, time.Time)) error {
	r, err := status.Ask(ctx, status.Address(bus))
	if err != nil {
		return err
	}
	if !asJSON {
		var table bytes.Buffer
		show(r, &table, time.Now())
		text := printable(table.String())
		if wantColours(w) {
			text = colour(text)
		}
		_, err = io.WriteString(w, text)
		return err
	}
	out, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		_, err = fmt.Fprintln(w, string(out))
	}
	return err
}
