package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/status"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newDevices() *cobra.Command {
	var (
		bus    string
		asJSON bool
		view   status.DevicesView
	)
	c := &cobra.Command{
		Use: "devices [NAME|ADDRESS]", Short: "show the devices that are heard and which proxies hear them",
		Long: `devices shows what the proxies hear, whether or not a program discovers: its address and name, whether it is on the bus (BUS), its signal
in dBm, and the three proxies that hear it best. * marks the device's owner, the proxy through which a connection is tried first. At most
1,000 devices are listed, those heard last. A name or address, or a part of one, chooses among them. On a terminal lines are cut to its width.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return &usageError{fmt.Errorf("devices takes one name or address, but got %q", args)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains(status.Sorts, view.Sort) {
				return &usageError{fmt.Errorf("--sort %q: want %s", view.Sort, strings.Join(status.Sorts, ", "))}
			}
			if len(args) > 0 {
				view.Match = args[0]
			}
			out := c.OutOrStdout()
			if f, ok := out.(*os.File); ok {
				if width, _, err := term.GetSize(int(f.Fd())); err == nil {
					view.Width = width
				}
			}
			choose := func(r *status.Report) (*status.Report, error) {
				if view.Proxy != "" && !slices.ContainsFunc(r.Proxies, func(p status.Proxy) bool { return p.Name == view.Proxy }) {
					return nil, fmt.Errorf("there is no proxy %q; those that there are: %s%s", view.Proxy, r.Names(), r.Elsewhere())
				}
				if asJSON {
					view.Filter(r)
				}
				return r, nil
			}
			return report(c.Context(), out, bus, asJSON, choose, func(r *status.Report, w io.Writer, now time.Time) {
				r.PrintOthers(w)
				r.PrintDevices(w, now, view)
			})
		},
		ValidArgsFunction: completeNames(false),
	}
	addReportFlags(c, &bus, &asJSON)
	c.Flags().StringVar(&view.Sort, "sort", "name", "name, address, rssi (strongest first), weak (weakest first) or heard (last first)")
	c.Flags().StringVar(&view.Proxy, "proxy", "", "only devices that this proxy hears")
	c.Flags().BoolVar(&view.OnBus, "bus-only", false, "only devices that are on the bus, for which programs discover")
	return c
}
