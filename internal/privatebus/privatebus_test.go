package privatebus

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func needDaemon(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("skipped: dbus-daemon is not installed")
	}
}

// shortDir is a folder whose path fits a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func mustConnect(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	c, err := dbus.Connect(address)
	if err != nil {
		t.Fatalf("cannot use the bus %s: %v", address, err)
	}
	return c
}

func TestDefaultPath(t *testing.T) {
	for _, c := range []struct{ name, runtime, xdg, want string }{
		{"systemd", "/run/bluez-esphome", "/run/user/1000", "/run/bluez-esphome/bus"},
		{"systemd with several folders", "/run/a:/run/b", "", "/run/a/bus"},
		{"session", "", "/run/user/1000", "/run/user/1000/bluez-esphome/bus"},
		{"neither", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("RUNTIME_DIRECTORY", c.runtime)
			t.Setenv("XDG_RUNTIME_DIR", c.xdg)
			if got := DefaultPath(); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestStartAndStop(t *testing.T) {
	needDaemon(t)
	for _, path := range []string{"", filepath.Join(shortDir(t), "sub", "bus")} {
		b, err := Start(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		c := mustConnect(t, b.Address)
		if reply, err := c.RequestName("org.bluez", dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
			t.Errorf("cannot own org.bluez: %v %v", reply, err)
		}
		c.Close()
		b.Stop()
		b.Stop()
		if _, err := dbus.Connect(b.Address); err == nil {
			t.Error("the bus outlived Stop")
		}
		if _, err := os.Stat(strings.TrimPrefix(b.Address, "unix:path=")); err == nil {
			t.Error("its socket outlived Stop")
		}
	}
}

// A bus that is there already is used, and not stopped.
func TestStartJoins(t *testing.T) {
	needDaemon(t)
	path := filepath.Join(shortDir(t), "bus")
	first, err := Start(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Stop()
	second, err := Start(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if second.Address != first.Address {
		t.Errorf("%s, want %s", second.Address, first.Address)
	}
	second.Stop()
	mustConnect(t, first.Address).Close()
}

// The socket of a bus that was killed is no obstacle.
func TestStartAfterKill(t *testing.T) {
	needDaemon(t)
	path := filepath.Join(shortDir(t), "bus")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Start(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	mustConnect(t, b.Address).Close()
	b.Stop()
}

func TestStartWithoutDaemon(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), "")
	if err == nil || !strings.Contains(err.Error(), "dbus-daemon is not installed") {
		t.Errorf("%v", err)
	}
}

func TestStartInForbiddenFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), filepath.Join(file, "bus"))
	if err == nil || !strings.Contains(err.Error(), "cannot make the folder of the private bus") {
		t.Errorf("%v", err)
	}
}

// One descriptor passes, as AcquireWrite's answer needs; who sends more loses the bus.
func TestDescriptorsInMessages(t *testing.T) {
	needDaemon(t)
	b, err := Start(t.Context(), filepath.Join(shortDir(t), "bus"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Stop()
	owner := mustConnect(t, b.Address)
	defer owner.Close()
	for n := 1; n <= 2; n++ {
		c := mustConnect(t, b.Address)
		defer c.Close()
		args := make([]any, n)
		for i := range args {
			args[i] = dbus.UnixFD(os.Stderr.Fd())
		}
		err := c.Object(owner.Names()[0], "/").Call("org.freedesktop.DBus.Peer.Odd", 0, args...).Err
		answered := errors.As(err, new(dbus.Error)) // the method does not exist
		if err == nil || answered != (n == 1) {
			t.Errorf("%d descriptors: %v", n, err)
		}
	}
}
