// Package privatebus runs a D-Bus daemon of our own, on which org.bluez can be owned without root and without
// disturbing a bluetoothd. Nobody but the user of this process can own a name on it, and that name is org.bluez.
//
// Processes of the same user, for example in another container that has the socket's folder mounted, are kept from
// being org.bluez by order: [Reserve] starts a bus that listens at a path that is made up for this start; its owner
// connects there and takes the name; [Bus.Publish] then moves the socket to where clients look for it and takes the
// permission to own names away from everybody.
package privatebus

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"bluez-esphome/internal/filelock"
	"bluez-esphome/internal/lockorder"
)

// maxSocketPath is how long the path of a socket of dbus-daemon may be, in bytes: it is meant to work on every Unix
// (dbus-sysdeps-unix.c, _DBUS_MAX_SUN_PATH_LENGTH).
const maxSocketPath = 99

// startTimeout is how long dbus-daemon may take to say that it listens.
const startTimeout = 10 * time.Second

// A Bus is a running D-Bus daemon. Its methods are goroutine-safe.
type Bus struct {
	// Address is what DBUS_SYSTEM_BUS_ADDRESS is to be set to, once the bus is published.
	Address string

	path      string
	dir       string // temporary: of the configuration, and of the socket if Reserve got no path
	removeDir func()
	log       *slog.Logger
	lock      *os.File // held while path is ours; nil in a temporary folder

	mu      lockorder.Mutex[lockorder.Leaf]
	cmd     *exec.Cmd     // nil: none runs
	exited  chan struct{} // closed once cmd ended
	conf    string        // file with the configuration of cmd
	hidden  string        // where cmd listens until Publish, and empty afterwards
	stopped bool
}

// Start runs a bus that its user's processes may own org.bluez on at any time: [Reserve] and then the move to path, or
// to a new temporary folder if path is empty. It is for tests and for the demo, whose folder nobody else can enter.
func Start(ctx context.Context, path string) (*Bus, error) {
	b, err := Reserve(ctx, path, nil)
	if err != nil {
		return nil, err
	}
	if err := b.publish(false); err != nil {
		b.Stop()
		return nil, err
	}
	return b, nil
}

// Reserve runs dbus-daemon for the socket at path, or in a new temporary folder if path is empty, where nobody finds it
// yet: [Bus.Hidden] tells the address at which org.bluez is to be owned before Publish. What dbus-daemon complains of
// is logged; a nil logger discards it. A process that uses path already is an *[InUseError].
func Reserve(ctx context.Context, path string, log *slog.Logger) (*Bus, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	// The configuration is never in the socket's folder: processes in other containers may write there.
	sweepOld()
	dir, removeDir, err := TempDir(tempPrefix + "bus-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a folder for the private bus: %w", err)
	}
	b := &Bus{log: log, dir: dir, removeDir: removeDir}
	if path == "" {
		path = filepath.Join(dir, socket)
	} else if b.lock, err = takePath(path); err != nil {
		b.removeFiles()
		return nil, err
	}
	b.Address, b.path = scheme+path, path
	if err := b.Renew(ctx); err != nil {
		b.removeFiles()
		return nil, err
	}
	return b, nil
}

// takePath makes the folder of the socket, locks the path and removes what a killed process left of it.
func takePath(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the folder of the private bus: %w; set %s to a folder of your own", err, pathVariable(path))
	}
	lock, err := lockPath(path)
	if err != nil {
		return nil, err
	}
	left, err := filepath.Glob(hiddenPrefix(path) + "*")
	if err != nil {
		return lock, nil // of a pattern that the folder's name spoils
	}
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && info.Mode().Type() == os.ModeSocket {
			_ = os.Remove(name)
		}
	}
	return lock, nil
}

// hiddenPrefix begins the names of the sockets at which a bus for path listens until Publish.
func hiddenPrefix(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"-")
}

// Hidden is the address of the bus before it is published, empty afterwards.
func (b *Bus) Hidden() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hidden == "" {
		return ""
	}
	return scheme + b.hidden
}

// Renew ends the dbus-daemon that runs, if any, and starts another one, which is hidden until Publish. Whoever was on
// the old one is gone, also who would wait there for the name. After Stop it fails.
func (b *Bus) Renew(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return errors.New("cannot start the private bus: it was stopped")
	}
	b.kill()
	return b.start(ctx)
}

// Publish moves the socket to where clients look for it. From then on nobody can own a name that is not owned yet.
func (b *Bus) Publish() error { return b.publish(true) }

func (b *Bus) publish(seal bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cmd == nil || b.hidden == "" {
		return errors.New("cannot publish the private bus: it does not run")
	}
	if seal {
		if err := writeConfiguration(b.conf, b.hidden, true); err != nil {
			return err
		}
		// dbus-daemon reads its configuration again (dbus-daemon(1)); names that are owned stay.
		if err := b.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return fmt.Errorf("cannot publish the private bus: %w", err)
		}
	}
	if err := os.Rename(b.hidden, b.path); err != nil {
		return fmt.Errorf("cannot publish the private bus: %w", err)
	}
	b.hidden = ""
	return nil
}

// start is called with the lock.
func (b *Bus) start(ctx context.Context) error {
	b.conf = filepath.Join(b.dir, "bus.conf")
	b.hidden = hiddenPrefix(b.path) + rand.Text()[:8]
	if over := len(b.hidden) - maxSocketPath; over > 0 {
		b.forget()
		return fmt.Errorf("cannot start the private bus: the path of its socket, %s, has %d bytes, of which %d fit; set %s to a shorter folder",
			b.path, len(b.path), len(b.path)-over, pathVariable(b.path))
	}
	if err := writeConfiguration(b.conf, b.hidden, false); err != nil {
		b.forget()
		return err
	}
	// The bus outlives ctx: it is stopped last, after everything that talks on it.
	cmd := exec.Command("dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", "--print-address=1", "--config-file="+b.conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	said := &complaints{log: b.log}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.forget()
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("cannot start the private bus: dbus-daemon is not installed (Debian: apt install dbus-daemon)")
		}
		return fmt.Errorf("cannot start the private bus: %w", err)
	}
	exited := make(chan struct{})
	b.cmd, b.exited = cmd, exited
	listens := make(chan bool, 1)
	go func() { // until it is killed: see kill
		line, _ := bufio.NewReader(out).ReadString('\n')
		listens <- line != ""
		_ = cmd.Wait()
		close(exited)
	}()
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case ok := <-listens:
		if ok {
			return nil
		}
		<-exited
		err = fmt.Errorf("cannot start the private bus: dbus-daemon says: %s", said.text())
	case <-timer.C:
		err = fmt.Errorf("cannot start the private bus: dbus-daemon did not start within %s", startTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	b.kill()
	return err
}

// Stop ends the dbus-daemon and removes what was made for it.
func (b *Bus) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return
	}
	b.stopped = true
	b.kill()
	b.removeFiles()
}

// stopTimeout is how long dbus-daemon may take to end by itself.
const stopTimeout = 200 * time.Millisecond

// kill ends our dbus-daemon, if it runs; the lock is held.
func (b *Bus) kill() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-b.exited:
	case <-timer.C: // it hangs
		_ = b.cmd.Process.Kill()
		<-b.exited
	}
	if b.hidden == "" {
		_ = os.Remove(b.path)
	}
	b.forget()
}

// forget removes the files of a dbus-daemon that does not run; the lock is held.
func (b *Bus) forget() {
	_ = os.Remove(b.conf)
	if b.hidden != "" {
		_ = os.Remove(b.hidden)
	}
	b.cmd, b.conf, b.hidden = nil, "", ""
}

// removeFiles gives the path back.
func (b *Bus) removeFiles() {
	b.removeDir()
	if b.lock != nil {
		filelock.Release(b.lock)
	}
}
