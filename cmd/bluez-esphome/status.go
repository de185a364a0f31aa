package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/demo"
	"bluez-esphome/internal/status"

	"github.com/spf13/cobra"
)

// watchInterval is how often status --watch asks.
const watchInterval = 2 * time.Second

// statusView is what status shows, by its flags and argument.
type statusView struct {
	bus, name              string
	asJSON, watch, verbose bool
	check                  bool
}

func newStatus() *cobra.Command {
	var v statusView
	c := &cobra.Command{
		Use: "status [PROXY|DEVICE]", Short: "show the proxies of the running daemon, or everything about one proxy or device",
		Long: `status shows a line for each proxy, the connection slots in use and by whom, what is wrong, and the connections that failed
within the hour. With the name of a proxy, or -v for all, it shows everything about it: its features, what each missing one
disables, and the last attempts to connect that failed. With the name or address of a device it shows who hears it and what
became of the last connections, with each proxy that was tried.

--check prints one line for a monitoring program and exits with 0 if all proxies are online, with 1 if some are not or the
configuration on disk has mistakes, and with 2 if none is or no daemon answers.

--json is for scripts: keys are only ever added, times are RFC 3339 in UTC, and what is not known is null.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return &usageError{fmt.Errorf("status takes one proxy or device, but got %q", args)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				v.name = args[0]
			}
			if v.check {
				return v.verdict(c.Context(), c.OutOrStdout())
			}
			return v.show(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
		},
		ValidArgsFunction: completeNames(true),
	}
	addReportFlags(c, &v.bus, &v.asJSON)
	c.Flags().BoolVarP(&v.verbose, "verbose", "v", false, "show everything about each proxy")
	c.Flags().BoolVar(&v.check, "check", false, "print one line and exit with 0, 1 or 2, for health checks and monitoring")
	c.Flags().BoolVar(&v.watch, "watch", false, "show it again every two seconds")
	return c
}

// show writes the page once, or with watch until ctx ends. After the first page an error takes the place of one: who
// watches wants to see the daemon come back.
func (v *statusView) show(ctx context.Context, out, complaints io.Writer) error {
	for shown := false; ; shown = true {
		var page bytes.Buffer
		err := report(ctx, screen{&page, out}, v.bus, v.asJSON, v.choose, v.print)
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

// verdict prints the line of --check and ends with its status.
func (v *statusView) verdict(ctx context.Context, out io.Writer) error {
	state, line := status.CheckCritical, ""
	r, err := status.Find(ctx, v.bus)
	if err == nil {
		r, err = v.choose(r)
	}
	if err != nil {
		line = "CRITICAL: " + strings.Join(strings.Fields(err.Error()), " ")
	} else {
		state, line = r.Check()
	}
	fmt.Fprintln(out, printable(line))
	if state == status.CheckOK {
		return nil
	}
	return &demo.ExitError{Status: state}
}

// choose is the part of the report that is asked for.
func (v *statusView) choose(r *status.Report) (*status.Report, error) {
	if v.name == "" {
		return r, nil
	}
	return r.Select(v.name)
}

// print writes a report as text.
func (v *statusView) print(r *status.Report, w io.Writer, now time.Time) {
	r.PrintOthers(w)
	switch {
	case v.name != "":
		r.PrintSelected(w, now)
	case v.verbose:
		r.PrintProxy(w, now, "")
	default:
		r.PrintProxies(w, now)
	}
}

func addReportFlags(c *cobra.Command, bus *string, asJSON *bool) {
	c.Flags().StringVar(bus, "bus", "", "system, private or an address (default: where a daemon is found)")
	c.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

func report(ctx context.Context, w io.Writer, bus string, asJSON bool,
	choose func(*status.Report) (*status.Report, error), show func(*status.Report, io.Writer, time.Time)) error {
	if bus != "" {
		if _, err := config.ParseBus(bus); err != nil {
			return &usageError{fmt.Errorf("--bus %q: %w", bus, err)}
		}
	}
	r, err := status.Find(ctx, bus)
	if err == nil {
		r, err = choose(r)
	}
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
	return printJSON(w, r)
}
