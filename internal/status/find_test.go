package status

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bluez-esphome/internal/dbusobj/dbustest"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

func TestCandidates(t *testing.T) {
	user := fmt.Sprintf("unix:path=/run/user/%d/bluez-esphome/bus", os.Getuid())
	const packaged, own = "unix:path=/run/bluez-esphome/bus", "unix:path=/nowhere/bluez-esphome/bus"
	tmp := t.TempDir()
	temp := filepath.Join(tmp, "bluez-esphome-7", "bus")
	for _, d := range []string{filepath.Dir(temp), filepath.Join(tmp, "other-7", "bus")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{temp, filepath.Join(tmp, "bluez-esphome-file")} {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, flag, env string
		want            []string
	}{
		{"nothing", "", "", []string{own, user, packaged, systemBus, "unix:path=" + temp}},
		{"environment", "", "unix:path=/e", []string{"unix:path=/e"}},
		{"flag beats environment", "unix:path=/f", "unix:path=/e", []string{"unix:path=/f"}},
		{"system beats environment", "system", "unix:path=/e", []string{systemBus}},
		{"private", "private", "unix:path=/e", []string{own, user, packaged}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("RUNTIME_DIRECTORY", "")
			t.Setenv("XDG_RUNTIME_DIR", "/nowhere")
			t.Setenv("TMPDIR", tmp)
			t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", c.env)
			if diff := cmp.Diff(c.want, candidates(c.flag)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever is in the way is named, each bus with its own reason.
func TestFindNobody(t *testing.T) {
	stale := filepath.Join(t.TempDir(), "bus")
	bus := dbustest.Start
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed (apt install dbus-daemon)")
	}
	empty, taken := bus(t), bus(t)
	conn, err := dbus.Connect(taken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.RequestName("org.bluez", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	// A program that answers as bluetoothd does, with a tree that has nothing of ours.
	manager := map[string]any{"GetManagedObjects": func() (map[dbus.ObjectPath]map[string]map[string]dbus.Variant, *dbus.Error) {
		return map[dbus.ObjectPath]map[string]map[string]dbus.Variant{"/org/bluez/hci0": {"org.bluez.Adapter1": {}}}, nil
	}}
	if err := conn.ExportMethodTable(manager, "/", "org.freedesktop.DBus.ObjectManager"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, bus, want string }{
		{"no bus", "unix:path=" + stale, "bus: there is no bus"},
		{"a bus without us", empty, "nobody is org.bluez there"},
		{"bluetoothd", taken, fmt.Sprintf("org.bluez is not bluez-esphome there but status.test (pid %d)", os.Getpid())},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Find(t.Context(), c.bus)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "--bus") {
				t.Errorf("%v", err)
			}
		})
	}
}
