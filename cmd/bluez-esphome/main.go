// Command bluez-esphome makes ESPHome Bluetooth proxies usable by every BlueZ
// program: it publishes what they hear and connect to as org.bluez on D-Bus.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/demo"

	"github.com/spf13/cobra"
)

// version is stamped by the build.
var version = "dev"

// bluezVersion is the version of BlueZ whose contract is followed. Qt asks the owner of org.bluez for it.
const bluezVersion = "5.87"

// Exit statuses.
const (
	exitOK = iota
	exitFailure
	exitUsage
	exitConfig
	exitTaken
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	err := root.ExecuteContext(ctx)
	var (
		usage *usageError
		conf  *configError
		taken *dbusobj.NameTakenError
		exit  *demo.ExitError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return exit.Status
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "bluez-esphome: %v\nSee bluez-esphome --help.\n", err)
		return exitUsage
	case errors.As(err, &conf):
		fmt.Fprintln(os.Stderr, err)
		return exitConfig
	case errors.As(err, &taken):
		remedy := takenRemedy
		if program, _, _ := strings.Cut(taken.Command, " "); filepath.Base(program) == "bluez-esphome" {
			remedy = twiceRemedy
		}
		fmt.Fprintf(os.Stderr, "bluez-esphome: %v\n%s\n", err, remedy)
		return exitTaken
	}
	fmt.Fprintf(os.Stderr, "bluez-esphome: %v\n", err)
	return exitFailure
}

const takenRemedy = `Only one program on a bus can be org.bluez. Stop the other one (for bluetoothd: systemctl stop bluetooth),
or leave it alone and use a bus of our own: bluez-esphome run --bus private`

const twiceRemedy = `bluez-esphome runs already on this bus, and status shows what it does. Stop it first (systemctl stop bluez-esphome, or
Ctrl-C where it was started); to have it read its configuration again, send it SIGHUP.`

// A usageError is a mistake on the command line.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func newRoot() *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:   "bluez-esphome",
		Short: "ESPHome Bluetooth proxies as org.bluez, for every BlueZ program",
		Long: `bluez-esphome makes ESPHome Bluetooth proxies usable by every BlueZ program.

Exit statuses: 0 success, 1 failure, 2 usage, 3 configuration, 4 org.bluez is taken.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 && !showVersion {
				return &usageError{fmt.Errorf("there is no command %q%s", args[0], meant(c, args[0]))}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			if showVersion {
				// Qt takes the number at the beginning; the second line is for people.
				fmt.Fprintf(c.OutOrStdout(), "%s\nbluez-esphome %s (the line above: the BlueZ whose interfaces it serves)\n", bluezVersion, version)
				return nil
			}
			return c.Help()
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	// Not cobra's own: its template would bring package text/template, with which the linker can leave out no exported
	// method of any type: a third of the program, most of which is mapped into memory.
	root.Flags().BoolVarP(&showVersion, "version", "v", false, "print the version of BlueZ whose interfaces are served, for programs that ask, and that of bluez-esphome")
	root.AddCommand(newRun(), newDemo(), newSimulate(), newDiscover(), newStatus(), newTake(), newProvision(), newDevices(), newCheck(), newCapture(), newReload(), newVersion())
	for _, c := range root.Commands() {
		if c.Args == nil {
			c.Args = noArgs
		}
		completeFlags(c)
	}
	addExamples(root)
	sayHelp(root)
	return root
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		hint := ""
		if c.Flags().Lookup("config") != nil {
			hint = fmt.Sprintf("; a configuration is given as --config %s", args[0])
		}
		return &usageError{fmt.Errorf("%s takes no argument, but got %q%s", c.Name(), args[0], hint)}
	}
	return nil
}

// meant names the command that was probably meant.
func meant(c *cobra.Command, got string) string {
	c.SuggestionsMinimumDistance = 2
	if names := c.SuggestionsFor(got); len(names) > 0 {
		return fmt.Sprintf("; did you mean %s?", strings.Join(names, " or "))
	}
	return ""
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version of bluez-esphome",
		RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprintln(c.OutOrStdout(), "bluez-esphome", version)
			return nil
		},
	}
}
