package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"
)

// Place is a directory for everything that a process keeps. Its path is short: those of sockets have at most 107 bytes.
type Place struct{ Dir string }

// NewPlace makes a Place that is removed after the test.
func NewPlace(t testing.TB) Place {
	t.Helper()
	dir, err := os.MkdirTemp("", "be")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return Place{dir}
}

// Env is the environment in which a process keeps everything at the Place.
func (p Place) Env() []string {
	return []string{
		"XDG_RUNTIME_DIR=" + p.Dir, "XDG_STATE_HOME=" + p.Dir, "HOME=" + p.Dir, "STATE_DIRECTORY=", "RUNTIME_DIRECTORY=",
		"NOTIFY_SOCKET=", "DBUS_SYSTEM_BUS_ADDRESS=", "BLUEZ_ESPHOME_STATE_DIR=" + filepath.Join(p.Dir, "state"),
	}
}

// Bus is a bus on which the program serves org.bluez.
type Bus struct {
	// Address is what DBUS_SYSTEM_BUS_ADDRESS has to be.
	Address string
	// Daemon is the process that serves it.
	Daemon *Proc
}

// Env is the environment in which a process uses the bus.
func (b *Bus) Env() []string { return []string{"DBUS_SYSTEM_BUS_ADDRESS=" + b.Address} }

// Connect opens a further connection to the bus.
func (b *Bus) Connect(t testing.TB, opts ...dbus.ConnOption) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(b.Address, opts...)
	if err != nil {
		t.Fatalf("cannot connect to the bus: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Demo runs the demo with --exec until the test ends, and checks that it ends with
// the command's status.
func Demo(t testing.TB) *Bus {
	t.Helper()
	place := NewPlace(t)
	fifo := filepath.Join(place.Dir, "stop")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// The command lives until somebody opened and closed the pipe for writing.
	script := fmt.Sprintf(`echo "BUS=$DBUS_SYSTEM_BUS_ADDRESS"; cat %s; exit 7`, fifo)
	p := Start(t, place.Env(), Binary(), "demo", "--exec", script)
	address := p.Out.Expect(t, `(?m)^BUS=(\S+)$`)[1]
	t.Cleanup(func() { // runs before the cleanup of Start
		opened := make(chan error, 1)
		go func() { // waits until the command reads
			f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
			if err == nil {
				err = f.Close()
			}
			opened <- err
		}()
		select {
		case err := <-opened:
			if err != nil {
				t.Error(err)
			}
		case <-p.Done():
			t.Error("the demo ended before its command was told to")
			if f, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
				<-opened
				_ = f.Close()
			}
		}
		if status := p.Wait(t, Limit); status != 7 {
			t.Errorf("demo --exec exited with %d, not with the command's 7", status)
		}
	})
	return &Bus{Address: address, Daemon: p}
}

// Simulate starts simulated proxies, given as NAME=ADDR:PORT[,…]; port 0 stands for a free one. It returns their
// addresses by name. peripherals is a file, or "" for the demo's.
func Simulate(t testing.TB, peripherals string, proxies ...string) (*Proc, map[string]string) {
	t.Helper()
	args := []string{"simulate"}
	if peripherals != "" {
		args = append(args, "--peripherals", peripherals)
	}
	for _, p := range proxies {
		args = append(args, "--proxy", p)
	}
	p := Start(t, NewPlace(t).Env(), Binary(), args...)
	addrs := map[string]string{}
	for range proxies {
		m := p.Out.Expect(t, `proxy (\S+) listens on (\S+)`)
		addrs[m[1]] = m[2]
	}
	return p, addrs
}

// Run starts the daemon with a configuration on a private bus and waits until it is ready.
func Run(t testing.TB, configuration string) *Bus {
	t.Helper()
	return NewPlace(t).Run(t, configuration)
}

// Run starts the daemon like the function Run, with the state that an earlier run left at the Place.
func (p Place) Run(t testing.TB, configuration string) *Bus {
	t.Helper()
	path := filepath.Join(p.Dir, "config.yaml")
	if err := os.WriteFile(path, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	d := Start(t, p.Env(), Binary(), "run", "--config", path, "--bus", "private")
	return &Bus{Address: d.Out.Expect(t, `(?m)^DBUS_SYSTEM_BUS_ADDRESS=(\S+)$`)[1], Daemon: d}
}
