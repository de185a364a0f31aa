package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/capture"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/status"

	"github.com/spf13/cobra"
)

// defaultCaptureSize is how large a capture becomes by default, in MB: hours of a home, or minutes of a busy building.
const defaultCaptureSize = 100

// captureCommand is the command line of capture.
type captureCommand struct {
	bus, config string
	devices     []string
	want        capture.Want
	duration    time.Duration
	megabytes   int64
}

func newCapture() *cobra.Command {
	var v captureCommand
	c := &cobra.Command{
		Use: "capture FILE.btsnoop", Short: "record what the proxies hear and what is done on their links, for Wireshark and btmon",
		Long: `capture records the advertisements that the running daemon hears and everything that is done on links, until it is stopped
with Ctrl-C. Wireshark and btmon -r show the file as HCI and ATT traffic, each proxy as an adapter; simulate --peripherals FILE plays the devices
in it. FILE must not exist; - is standard output.

The file contains the values that devices send and get, but no keys. --redact replaces each Bluetooth address by another one, also where it
stands in a value or in a name; names, serial numbers and other values stay. Only root and the daemon's own user can capture.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{fmt.Errorf("capture wants one file, but got %q", args)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return v.run(c.Context(), args[0], c.OutOrStdout(), c.ErrOrStderr())
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"btsnoop"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	f := c.Flags()
	f.StringVar(&v.bus, "bus", "", "system, private or an address (default: where a daemon is found)")
	f.StringVar(&v.config, "config", "", "the daemon's configuration, for one without a bus whose state_dir is not the usual one")
	f.StringArrayVar(&v.devices, "device", nil, "only the device with this address; repeatable")
	f.StringArrayVar(&v.want.Proxies, "proxy", nil, "only this proxy; repeatable")
	f.BoolVar(&v.want.NoAdverts, "no-adverts", false, "links only")
	f.BoolVar(&v.want.Redact, "redact", false, "replace Bluetooth addresses")
	f.DurationVar(&v.duration, "time", 0, "stop after this long, such as 10m (default: when it is stopped)")
	f.Int64Var(&v.megabytes, "size", defaultCaptureSize, "stop at this many MB; 0: never")
	return c
}

// parse turns what was written into what is wanted.
func (v *captureCommand) parse() error {
	if v.bus != "" {
		if _, err := config.ParseBus(v.bus); err != nil {
			return &usageError{fmt.Errorf("--bus %q: %w", v.bus, err)}
		}
	}
	if v.duration < 0 {
		return &usageError{fmt.Errorf("--time %v: want more than 0", v.duration)}
	}
	if v.megabytes < 0 || v.megabytes > 1<<30 {
		return &usageError{fmt.Errorf("--size %d: want 0 for no limit, or megabytes", v.megabytes)}
	}
	for _, s := range v.devices {
		a, err := ble.ParseAddress(s)
		if err != nil {
			return &usageError{fmt.Errorf("--device: %w", err)}
		}
		v.want.Devices = append(v.want.Devices, a)
	}
	return nil
}

func (v *captureCommand) run(ctx context.Context, file string, stdout, complaints io.Writer) error {
	if err := v.parse(); err != nil {
		return err
	}
	socket, err := v.socket(ctx)
	if err != nil {
		return err
	}
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	out := stdout
	var f *os.File
	if file != "-" {
		f, err = os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists already; name another file, or remove it", file)
		}
		if err != nil {
			return fmt.Errorf("cannot write the capture: %w", err)
		}
		out = f
	}
	sum, err := capture.Record(ctx, socket, v.want, v.megabytes*1e6, out, func() {
		fmt.Fprintln(complaints, "Capturing. Stop with Ctrl-C.")
		if v.duration > 0 {
			time.AfterFunc(v.duration, enough)
		}
	})
	if f != nil {
		if cerr := f.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("cannot write the capture: %w", cerr)
		}
		if err != nil && sum.Records == 0 {
			_ = os.Remove(file)
		}
	}
	if sum.Records > 0 {
		fmt.Fprintln(complaints, summary(sum, v.megabytes))
	}
	return err
}

// summary says in a line what became of a capture.
func summary(s capture.Summary, megabytes int64) string {
	line := fmt.Sprintf("%d records", s.Records)
	if s.Lost > 0 {
		line += fmt.Sprintf(", and %d were lost since they could not be written fast enough", s.Lost)
	}
	if s.Full {
		line += fmt.Sprintf("; it has the %d MB that it may have (--size)", megabytes)
	}
	return line
}

// socket finds the daemon: by its configuration, on a bus, or, for one without a bus, by the usual places of its state.
func (v *captureCommand) socket(ctx context.Context) (string, error) {
	if v.config != "" {
		cfg, err := loadConfig(v.config)
		if err != nil {
			return "", err
		}
		return capture.Socket(cfg.StateDir), nil
	}
	r, err := status.Find(ctx, v.bus)
	switch {
	case err == nil && r.CaptureSocket() != "":
		return r.CaptureSocket(), nil
	case err == nil:
		return "", errors.New("the daemon offers no captures: its log says why, or it is older than this command")
	case v.bus != "" || ctx.Err() != nil:
		return "", err
	}
	dirs := config.StateDirs()
	for _, dir := range dirs {
		if _, serr := os.Lstat(capture.Socket(dir)); serr == nil || errors.Is(serr, fs.ErrPermission) {
			return capture.Socket(dir), nil
		}
	}
	return "", fmt.Errorf("%w\nNor does one without a bus keep its state in %s; --config FILE names the configuration of another one", err, strings.Join(dirs, " or "))
}
