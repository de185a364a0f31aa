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

// statusView is what status shows, by its flags and argument.
type statusView struct {
	bus, name              string
	asJSON, watch, verbose bool
}

func newStatus() *cobra.Command {
	var v statusView
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
			if len(args) > 0 {
				v.name = args[0]
			}
			return v.show(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	addReportFlags(c, &v.bus, &v.asJSON)
	c.Flags().BoolVarP(&v.verbose, "verbose", "v", false, "show everything about each proxy")
	c.Flags().BoolVar(&v.watch, "watch", false, "show it again every two seconds")
	return c
}

// show writes the page once, or with watch until ctx ends. After the first page an error takes the place of one: who watches wants to
// see the daemon come back.
func (v *statusView) show(ctx context.Context, out, complaints io.Writer) error {
	for shown := false; ; shown = true {
		var page bytes.Buffer
		err := report(ctx, screen{&page, out}, v.bus, v.asJSON, v.print)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil && !(v.watch && shown):
			return err
		case err != nil && v.asJSON:
			fmt.Fprintln(complaints, err)
		case err != nil:
			fmt.Fprintln(&page, err)
		}
		if v.watch && isTerminal(out) {
			io.WriteString(out, clearScreen)
		}
		if _, err := page.WriteTo(out); err != nil || !v.watch {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchInterval):
		}
	}
}

// print writes a report as text.
func (v *statusView) print(r *status.Report, w io.Writer, now time.Time) error {
	if !v.verbose && v.name == "" {
		r.PrintProxies(w, now)
		return nil
	}
	if !r.PrintProxy(w, now, v.name) {
		return fmt.Errorf("there is no proxy %q; those that there are: %s", v.name, r.Names())
	}
	return nil
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
