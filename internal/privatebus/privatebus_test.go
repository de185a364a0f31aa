package privatebus

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func needDaemon(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed (apt install dbus-daemon)")
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
	own, others := t.TempDir(), t.TempDir()
	for _, c := range []struct{ name, runtime, xdg, want string }{
		{"systemd", "/run/bluez-esphome", own, "/run/bluez-esphome/bus"},
		{"systemd with several folders", "/run/a:/run/b", "", "/run/a/bus"},
		{"session", "", own, own + "/bluez-esphome/bus"},
		{"a folder that is not there", "", own + "/gone", ""},
		{"another user's, after su", "", others, ""},
		{"neither", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.xdg == others {
				if os.Geteuid() != 0 {
					t.Skip("only root can make a folder of another user (run it as root)")
				}
				if err := os.Chown(others, 65534, 65534); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("RUNTIME_DIRECTORY", c.runtime)
			t.Setenv("XDG_RUNTIME_DIR", c.xdg)
			if got := DefaultPath(); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if asked := scheme + userPath(c.xdg); slices.Contains(Addresses(), asked) != (c.xdg != "") {
				t.Errorf("whoever looks for a bus looks at %q", Addresses())
			}
		})
	}
}

// TestLongPath: a socket's path has a limit, which nobody knows.
func TestLongPath(t *testing.T) {
	needDaemon(t)
	dir := shortDir(t)
	long := filepath.Join(dir, strings.Repeat("x", maxSocketPath-len(dir)-len("//bus")-len(".-12345678")))
	for path, want := range map[string]string{
		long + "/bus":  "",
		long + "x/bus": long + "x/bus, has 90 bytes, of which 89 fit; set XDG_RUNTIME_DIR to a shorter folder",
	} {
		t.Setenv("XDG_RUNTIME_DIR", dir)
		b, err := Start(t.Context(), path)
		if err == nil {
			mustConnect(t, b.Address).Close()
			b.Stop()
		}
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%d bytes: %v", len(path), err)
		}
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

// A second process is told who has the bus, and does it no harm; what a killed one left is no obstacle.
func TestStartInUse(t *testing.T) {
	needDaemon(t)
	path := filepath.Join(shortDir(t), "bus")
	first, err := Start(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Stop()
	c := mustConnect(t, first.Address)
	defer c.Close()
	if _, err := c.RequestName(ownedName, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	var used *InUseError
	if _, err := Start(t.Context(), path); !errors.As(err, &used) || used.PID != uint32(os.Getpid()) || used.Owner != c.Names()[0] {
		t.Errorf("%v", err)
	}
	mustConnect(t, first.Address).Close()
	first.Stop()
	again, err := Start(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	again.Stop()
}

// Before Publish nobody finds the bus; its owner keeps the name; after it nobody can own any name, this process's user
// included.
func TestReserve(t *testing.T) {
	needDaemon(t)
	dir := shortDir(t)
	b, err := Reserve(t.Context(), filepath.Join(dir, "bus"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Stop()
	for round := range 2 {
		if _, err := dbus.Connect(b.Address); err == nil {
			t.Fatal("the bus is found before it was published")
		}
		owner := mustConnect(t, b.Hidden())
		defer owner.Close()
		if reply, err := owner.RequestName("org.example.Other", dbus.NameFlagDoNotQueue); err == nil {
			t.Errorf("another name was granted: %v", reply)
		}
		if reply, err := owner.RequestName(ownedName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
			t.Fatalf("cannot own org.bluez: %v %v", reply, err)
		}
		if err := b.Publish(); err != nil {
			t.Fatal(err)
		}
		if got := b.Hidden(); got != "" {
			t.Errorf("still hidden at %s", got)
		}
		other := mustConnect(t, b.Address)
		defer other.Close()
		// The order to read the policy again is a signal: it has effect within the time that the bus takes to notice it.
		for end := time.Now().Add(3 * time.Minute); ; runtime.Gosched() {
			reply, err := other.RequestName(ownedName, 0)
			if err != nil {
				break
			}
			if reply != dbus.RequestNameReplyInQueue || time.Now().After(end) {
				t.Fatalf("org.bluez was granted: %v", reply)
			}
		}
		var has string
		if err := other.BusObject().Call("org.freedesktop.DBus.GetNameOwner", 0, ownedName).Store(&has); err != nil || has != owner.Names()[0] {
			t.Errorf("owner %q, %v", has, err)
		}
		if round == 0 { // the same after a loss
			if err := b.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.Stop()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 { // the lock
		t.Errorf("left: %v, %v", left, err)
	}
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
