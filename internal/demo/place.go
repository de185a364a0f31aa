package demo

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"bluez-esphome/internal/privatebus"
)

// usualPort is the live page's, if nobody else has it: a tab that is open finds the next demo.
const usualPort = 9551

// place is where a demo is found.
type place struct {
	bus, page           string
	usualBus, usualPage bool // they are the same at each start
}

// openBus starts the demo's bus at its usual path, or, if another demo has that, in a new folder.
func openBus(ctx context.Context) (bus *privatebus.Bus, usual bool, err error) {
	if path := privatebus.DemoPath(); path != "" && !answers(ctx, path) {
		if bus, err := privatebus.Start(ctx, path); err == nil {
			return bus, true, nil
		}
	}
	bus, err = privatebus.Start(ctx, "")
	return bus, false, err
}

// answers reports whether somebody listens at a socket.
func answers(ctx context.Context, path string) bool {
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// openPage listens on the usual port of this host, or, if that is taken, on any.
func openPage(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", usualPort))
	if err != nil {
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen for the live page: %w", err)
	}
	return l, nil
}

func isUsual(l net.Listener) bool { return l.Addr().(*net.TCPAddr).Port == usualPort }

// install is the line that makes bluetoothctl available where it is missing, else empty.
func install() string {
	if _, err := exec.LookPath("bluetoothctl"); err == nil {
		return ""
	}
	command := "apt install bluez"
	if os.Getuid() != 0 {
		command = "sudo " + command
	}
	return fmt.Sprintf("  %-24s # bluetoothctl is not installed here\n", command)
}

// introduce says how to use the demo from a browser and from another shell.
func introduce(p place) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
The demo runs: two simulated ESPHome proxies, a private D-Bus and bluez-esphome.
Nothing of this machine's own Bluetooth is touched. Ctrl-C stops it all.

Who hears what, and metrics, in a browser on this machine:

  %s
`, p.page)
	if !p.usualPage {
		fmt.Fprintf(&b, "\n(Port %d is taken, so it has another one, which changes with each start.)\n", usualPort)
	}
	fmt.Fprintf(&b, `
In another shell, any BlueZ program can use it:

%s  export DBUS_SYSTEM_BUS_ADDRESS=%s
  bluetoothctl

and there: scan le, devices, connect C8:2B:96:10:00:01, menu gatt, list-attributes …
`, install(), p.bus)
	if !p.usualBus {
		b.WriteString("\n(Another demo has the usual bus, so this one changes with each start.)\n")
	}
	return b.String() + "\n"
}
