// Package privatebus runs a D-Bus daemon of our own, on which org.bluez can
// be owned without root and without disturbing a bluetoothd.
package privatebus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// configuration lets every user who can reach the socket talk to everybody; reaching it is
// what the permissions of its folder decide. The limits are the system bus's where they matter: one client
// may not take all descriptors or connections. No message of BlueZ's has more than one descriptor; and as soon as more of them
// than max_outgoing_unix_fds (64 by default) wait for us, the bus refuses everybody's calls, so that this is out of reach.
const configuration = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="false"/>
    <allow send_type="method_call"/>
    <allow receive_sender="*"/>
  </policy>
  <limit name="max_match_rules_per_connection">4096</limit>
  <limit name="max_replies_per_connection">65536</limit>
  <limit name="max_connections_per_user">1024</limit>
  <limit name="max_message_unix_fds">1</limit>
  <limit name="max_outgoing_unix_fds">16384</limit>
</busconfig>
`

// startTimeout is how long dbus-daemon may take to say that it listens.
const startTimeout = 10 * time.Second

// A Bus is a running D-Bus daemon, or one of an earlier program that is still there.
type Bus struct {
	// Address is what DBUS_SYSTEM_BUS_ADDRESS is to be set to.
	Address string

	path string
	dir  string // removed by Stop, unless empty

	mu      sync.Mutex
	cmd     *exec.Cmd     // nil: the bus is not ours
	exited  chan struct{} // closed once cmd ended
	stopped bool
}

// Start runs dbus-daemon with its socket at path, or in a new temporary folder if path is empty. If a bus answers
// at path already, that one is used and left alone by Stop.
func Start(ctx context.Context, path string) (*Bus, error) {
	b := &Bus{}
	if path == "" {
		dir, err := os.MkdirTemp("", tempPrefix)
		if err != nil {
			return nil, fmt.Errorf("cannot make a folder for the private bus: %w", err)
		}
		b.dir, path = dir, filepath.Join(dir, socket)
	} else if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the folder of the private bus: %w", err)
	}
	b.Address, b.path = scheme+path, path
	if err := b.Ensure(ctx); err != nil {
		b.removeDir()
		return nil, err
	}
	return b, nil
}

// Ensure starts dbus-daemon again if no bus answers any more at the address. After Stop it fails.
func (b *Bus) Ensure(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return errors.New("cannot start the private bus: it was stopped")
	}
	if c, err := net.Dial("unix", b.path); err == nil {
		c.Close()
		return nil
	}
	b.kill() // one that lost its socket is of no use
	return b.start(ctx, b.path)
}

// start is called with the lock.
func (b *Bus) start(ctx context.Context, path string) error {
	os.Remove(path) // of a bus that was killed: nobody answers there
	conf, err := os.CreateTemp("", "bluez-esphome-bus-*.conf")
	if err != nil {
		return fmt.Errorf("cannot write the private bus's configuration: %w", err)
	}
	defer os.Remove(conf.Name())
	if _, err = fmt.Fprintf(conf, configuration, path); err == nil {
		err = conf.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot write the private bus's configuration: %w", err)
	}
	// The bus outlives ctx: it is stopped last, after everything that talks on it.
	cmd := exec.Command("dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", "--print-address=1", "--config-file="+conf.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("cannot start the private bus: %w", err)
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("cannot start the private bus: dbus-daemon is not installed (Debian: apt install dbus-daemon)")
		}
		return fmt.Errorf("cannot start the private bus: %w", err)
	}
	exited := make(chan struct{})
	b.cmd, b.exited = cmd, exited
	listens := make(chan bool, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		listens <- line != ""
		cmd.Wait()
		close(exited)
	}()
	select {
	case ok := <-listens:
		if ok {
			return nil
		}
		<-exited
		return fmt.Errorf("cannot start the private bus: dbus-daemon says: %s", strings.TrimSpace(complaint.String()))
	case <-time.After(startTimeout):
		b.kill()
		return fmt.Errorf("cannot start the private bus: dbus-daemon did not start within %s", startTimeout)
	case <-ctx.Done():
		b.kill()
		return ctx.Err()
	}
}

// Stop ends the daemon that Start started and removes what it made.
func (b *Bus) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return
	}
	b.stopped = true
	b.kill()
	b.removeDir()
}

// stopTimeout is how long dbus-daemon may take to end by itself.
const stopTimeout = 200 * time.Millisecond

// kill ends our dbus-daemon, if it runs; the lock is held.
func (b *Bus) kill() {
	if b.cmd == nil {
		return
	}
	b.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.exited:
	case <-time.After(stopTimeout): // it hangs
		b.cmd.Process.Kill()
		<-b.exited
	}
	os.Remove(b.path)
	b.cmd = nil
}

func (b *Bus) removeDir() {
	if b.dir != "" {
		os.RemoveAll(b.dir)
	}
}
