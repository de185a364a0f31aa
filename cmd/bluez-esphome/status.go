package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/status"

	"github.com/spf13/cobra"
)

// watchInterval is how often status --watch asks.
const watchInterval = 2 * time.Second

func newStatus() *cobra.Command {
	var (
		bus                    string
		asJSON, watch, verbose bool
	)
	c := &cobra.Command{
		Use: "status [PROXY]", Short: "show the proxies of the running daemon",
		Long: `status shows a line for each proxy, the connection slots in use and by whom, and what is wrong. With the name of a proxy, or -v for all,
it shows everything about it: its features, and what each missing one disables.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return &usageError{fmt.Errorf("status takes one proxy, but got %q", args)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			out, name := c.OutOrStdout(), ""
			if len(args) > 0 {
				name = args[0]
			}
			show := func(r *status.Report, w io.Writer, now time.Time) error {
				if verbose || name != "" {
					if !r.PrintProxy(w, now, name) {
						return fmt.Errorf("there is no proxy %q; those that there are: %s", name, r.Names())
					}
					return nil
				}
				r.PrintProxies(w, now)
				return nil
			}
			for shown := false; ; shown = true {
				var page bytes.Buffer
				err := report(c.Context(), screen{&page, out}, bus, asJSON, show)
				switch {
				case err != nil && c.Context().Err() != nil:
					return nil
				case err != nil && !(watch && shown): // who watches wants to see the daemon come back
					return err
				case err != nil && asJSON:
					fmt.Fprintln(c.ErrOrStderr(), err)
				case err != nil:
					fmt.Fprintln(&page, err)
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
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "show everything about each proxy")
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
			return report(c.Context(), c.OutOrStdout(), bus, asJSON, func(r *status.Report, w io.Writer, now time.Time) error {
				r.PrintDevices(w, now)
				return nil
			})
		},
	}
	addReportFlags(c, &bus, &asJSON)
	return c
}

func addReportFlags(c *cobra.Command, bus *string, asJSON *bool) {
	c.Flags().StringVar(bus, "bus", "", "bus of the daemon: system, private or an address (default: DBUS_SYSTEM_BUS_ADDRESS, else a private bus, else the system bus)")
	c.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

func report(ctx context.Context, w io.Writer, bus string, asJSON bool, show func(*status.Report, io.Writer, time.Time) error) error {
	if bus != "" {
		if _, err := config.ParseBus(bus); err != nil {
			return &usageError{fmt.Errorf("--bus %q: %w", bus, err)}
		}
	}
	r, err := status.Find(ctx, bus)
	if err != nil {
		return err
	}
	if !asJSON {
		var table bytes.Buffer
		if err := show(r, &table, time.Now()); err != nil {
			return err
		}
		text := printable(table.String())
		if wantColours(w) {
			text = colour(text)
		}
		_, err = io.WriteString(w, text)
		return err
	}
	return printJSON(w, r)
}
