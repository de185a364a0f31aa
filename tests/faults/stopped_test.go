package faults

import (
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// stoppedFor is longer than a proxy may be silent (link.dead_after, 20 s), than a device that nobody hears stays on the
// bus (30 s), and than an operation may take (30 s).
const stoppedFor = 33 * time.Second

// TestStopped stops the daemon's process, as a paused container or virtual machine is, and lets it go on: it looks at
// its sockets before it gives anybody up. No proxy is lost or taken for stolen or deaf, the link goes on, the read that
// was under way gets its answer, and no device leaves the bus. Its 33 s are the kernel's: no clock of a process that
// does not run can be faked.
func TestStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bus := w.start("private")
	c := newClient(t, bus)
	busy(c)
	w.eventually("two sessions", func() bool { return w.sessions() == 2 })
	c.Until(devicePath(1), deviceIface, "Address", (address0 + 1).String()) // it is not connected
	removed := make(chan *dbus.Signal, 100)
	if err := c.Conn.AddMatchSignal(dbus.WithMatchSender("org.bluez"), dbus.WithMatchMember("InterfacesRemoved")); err != nil {
		t.Fatal(err)
	}
	c.Conn.Signal(removed)

	bus.Daemon.Signal(t, unix.SIGSTOP)
	pending := c.Conn.Object("org.bluez", devicePath(0)+register).Go(charIface+".ReadValue", 0, nil, map[string]dbus.Variant{})
	<-time.After(stoppedFor)
	bus.Daemon.Signal(t, unix.SIGCONT)
	if <-pending.Done; pending.Err != nil {
		t.Errorf("the read that waited: %v", pending.Err)
	}
	for len(c.notes) > 0 {
		<-c.notes
	}
	for range 60 { // 6 s of notifications: everything that was late has been decided
		c.notified()
	}
	for len(removed) > 0 {
		if s := <-removed; s.Name == "org.freedesktop.DBus.ObjectManager.InterfacesRemoved" {
			t.Errorf("left the bus: %v", s.Body[0])
		}
	}
	for _, line := range []string{`Lost the proxy`, `not ours`, `went deaf`, `msg=disconnected`} {
		if n := bus.Daemon.Err.Count(line); n > 0 {
			t.Errorf("%d times in the log: %s", n, line)
		}
	}
	if w.sessions() != 2 {
		t.Errorf("%d sessions", w.sessions())
	}
}
