package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// mount gives the daemon a small file system of its own to keep its state in. Only root may mount.
func mount(t *testing.T, w *world) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system (run it as root)")
	}
	dir := filepath.Join(w.place.Dir, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); errors.Is(err, unix.EPERM) {
		t.Skip("mounting a file system is forbidden here (run it outside of the container)")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the folder is removed
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w.env = append(w.env, "BLUEZ_ESPHOME_STATE_DIR="+filepath.Join(dir, "state"))
	return dir
}

// retried is longer than the pause after which the daemon tries to write again.
const retried = 90 * time.Second

// TestDisk: a disk that is full, and one that turns read-only. The daemon serves on, says once what is wrong and what
// to do, keeps the changes, and writes them when it can.
func TestDisk(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		spoil      func(t *testing.T, dir string)
		repair     func(t *testing.T, dir string)
		says, help string
	}{
		{"full", fill, func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
				t.Fatal(err)
			}
		}, "no space left on device", "free space"},
		{"read-only", func(t *testing.T, dir string) {
			// The disk is mounted read-only over the directory: the kernel refuses to make a file system read-only
			// while a file of it is open.
			if err := unix.Mount("tmpfs", filepath.Join(dir, "state"), "tmpfs", unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, dir string) {
			if err := unix.Unmount(filepath.Join(dir, "state"), 0); err != nil {
				t.Fatal(err)
			}
		}, "read-only file system", "mount it writable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			dir := mount(t, w)
			bus := w.start("private")
			c := newClient(t, bus)
			c.connect(0)
			w.eventually("the state is written", func() bool { return strings.Contains(w.kept(dir), "address") })
			tt.spoil(t, dir)
			for n := range 50 {
				c.Call(adapterPath, properties+".Set", adapterIface, "Alias", dbus.MakeVariant(fmt.Sprint("alias ", n)))
			}
			log := bus.Daemon.Err
			m := log.Expect(t, `level=ERROR msg="Cannot write state.*`)[0]
			if !strings.Contains(m, tt.says) || !strings.Contains(m, tt.help) {
				t.Errorf("it says %s", m)
			}
			// The daemon still serves its clients.
			c.Call(devicePath(0)+register, charIface+".ReadValue", map[string]dbus.Variant{})
			c.connect(1)
			c.Until(adapterPath, adapterIface, "Alias", "alias 49")
			tt.repair(t, dir)
			log.ExpectIn(t, `State is written again`, retried)
			if got := w.kept(dir); !strings.Contains(got, "alias 49") {
				t.Errorf("kept: %s", got)
			}
			if n := log.Count(`Cannot write state`); n != 1 {
				t.Errorf("it was said %d times", n)
			}
		})
	}
}

// TestDiskFromStart: nothing can be written from the start; the daemon runs all the same.
func TestDiskFromStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := mount(t, w)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	bus := w.start("private")
	c := newClient(t, bus)
	c.connect(0)
	if n := bus.Daemon.Err.Count(`Cannot write state`); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	bus.Daemon.Stop(t)
	if status := bus.Daemon.Wait(t, time.Minute); status != 0 {
		t.Errorf("status %d", status)
	}
}

// TestDamaged: files that cannot be understood are set aside under a name of their own and reported; all else goes on.
func TestDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bus := w.start("private")
	c := newClient(t, bus)
	c.connect(0)
	c.Call(devicePath(0), properties+".Set", deviceIface, "Trusted", dbus.MakeVariant(true))
	gatt := func() []string {
		list, _ := filepath.Glob(w.state("gatt/*.json")) // the pattern is good
		return list
	}
	w.eventually("the state and a GATT database are written", func() bool {
		b, _ := os.ReadFile(w.state("state.json"))
		return len(gatt()) == 1 && strings.Contains(string(b), `"trusted": true`)
	})
	bus.Daemon.Stop(t)
	for _, file := range append(gatt(), w.state("state.json")) {
		if err := os.WriteFile(file, []byte(`{"version": 1, "address`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bus = w.start("private")
	c = newClient(t, bus)
	c.connect(0)
	c.Call(devicePath(0)+register, charIface+".ReadValue", map[string]dbus.Variant{})
	// The store's writer sets aside what a reader found damaged, in its own time.
	const report = `level=ERROR msg="State file is damaged; it was set aside`
	w.eventually("both are reported", func() bool { return bus.Daemon.Err.Count(report) >= 2 })
	bus.Daemon.Stop(t)
	if n := bus.Daemon.Err.Count(report); n != 2 {
		t.Errorf("%d reports of damage", n)
	}
	for _, pattern := range []string{"state.json.damaged-*", "gatt/*.damaged-*"} {
		if list, _ := filepath.Glob(w.state(pattern)); len(list) != 1 {
			t.Errorf("%d files %s", len(list), pattern)
		}
	}
}

// kept gives the content of state.json.
func (w *world) kept(dir string) string {
	b, _ := os.ReadFile(filepath.Join(dir, "state", "state.json")) // what is missing is found by the caller
	return string(b)
}

// fill takes all the space there is.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}
