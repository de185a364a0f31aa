package status

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"bluez-esphome/internal/privatebus"

	"github.com/godbus/dbus/v5"
)

// systemBus is the well-known address of the D-Bus specification.
const systemBus = "unix:path=/var/run/dbus/system_bus_socket"

// Find asks the daemon on the bus that flag names: system, private or an address. Without a flag it asks where
// DBUS_SYSTEM_BUS_ADDRESS points, as every client does; without that the private buses at their usual places, the
// system bus, and the temporary buses of this user, and takes the first on which bluez-esphome answers. The error says
// where it looked.
func Find(ctx context.Context, flag string) (*Report, error) {
	var looked []string
	all := candidates(flag)
	for i, address := range all {
		r, err := Ask(ctx, address)
		if err == nil {
			r.Others = running(ctx, all[i+1:])
			r.guessed = flag == "" && slices.Contains(privatebus.TemporaryAddresses(), address) && os.Getenv("DBUS_SYSTEM_BUS_ADDRESS") == ""
			return r, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		looked = append(looked, "  "+err.Error())
	}
	return nil, fmt.Errorf("cannot find a running bluez-esphome; looked at\n%s\n%s", strings.Join(looked, "\n"), remedy)
}

// running lists those of the buses on which bluez-esphome answers.
func running(ctx context.Context, addresses []string) []string {
	out := []string{}
	for _, address := range addresses {
		if there(ctx, address) {
			out = append(out, address)
		}
	}
	return out
}

// there reports whether bluez-esphome is on a bus. It asks for less than Ask does.
func there(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		return false
	}
	defer conn.Close()
	var props map[string]dbus.Variant
	return conn.Object("org.bluez", "/org/bluez/hci0").CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll", dbus.FlagNoAutoStart,
		"org.bluez_esphome.Radio1").Store(&props) == nil
}

const remedy = `Is it running? Start it (systemctl start bluez-esphome, or bluez-esphome run --config FILE), or name its bus as it
printed it at its start: --bus unix:path=PATH. One with bus: none, as after bluez-esphome-setup controller, has no bus
to be asked on: it has its page (http.listen) and its log (journalctl -u bluez-esphome-controller)`

// candidates lists the buses to ask, in order.
func candidates(flag string) []string {
	switch flag {
	case "":
	case "system":
		return []string{systemBus}
	case "private":
		return privatebus.Addresses()
	default:
		return []string{flag}
	}
	if env := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); env != "" {
		return []string{env}
	}
	return slices.Concat(privatebus.Addresses(), []string{systemBus}, privatebus.TemporaryAddresses())
}

// explain says in the terms of an administrator why a bus cannot be asked.
func explain(address string, err error) error {
	path := strings.TrimPrefix(strings.Split(address, ",")[0], "unix:path=")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: there is no bus", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s: nobody listens any more", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: no permission; ask as root, or as a user who can use that bus", path)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// owner describes the process that owns org.bluez, by pid and command as far as the bus and the kernel tell them.
func owner(ctx context.Context, conn *dbus.Conn) string {
	var pid uint32
	if err := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionUnixProcessID", 0, "org.bluez").Store(&pid); err != nil {
		return "another program"
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("another program (pid %d)", pid)
	}
	return fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(comm)), pid)
}
