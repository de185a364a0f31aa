package faults

import (
	"slices"
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
// was under way gets its answer, as does the Connect of a device that answered meanwhile, and no device leaves the bus. Its 33 s are the kernel's: no clock of a process that
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

	advertise := func(on bool) {
		if err := w.sim.Air().Advertise("2", on); err != nil {
			t.Fatal(err)
		}
	}
	c.Until(devicePath(2), deviceIface, "Address", (address0 + 2).String())
	var connecting *dbus.Call
	w.eventually("an attempt without an answer", func() bool { // a device that has just left is dialled as long as it was heard
		advertise(false)
		connecting = c.Conn.Object("org.bluez", devicePath(2)).Go(deviceIface+".Connect", 0, nil)
		for range 20 {
			<-time.After(50 * time.Millisecond)
			for _, name := range names {
				if slices.Contains(w.sim.Proxy(name).Slots().Allocated, address0+2) {
					return len(connecting.Done) == 0
				}
			}
		}
		c.Call(devicePath(2), deviceIface+".Disconnect")
		advertise(true)
		<-time.After(200 * time.Millisecond)
		return false
	})

	bus.Daemon.Signal(t, unix.SIGSTOP)
	advertise(true)
	pending := c.Conn.Object("org.bluez", devicePath(0)+register).Go(charIface+".ReadValue", 0, nil, map[string]dbus.Variant{})
	<-time.After(stoppedFor)
	bus.Daemon.Signal(t, unix.SIGCONT)
	if <-pending.Done; pending.Err != nil {
		t.Errorf("the read that waited: %v", pending.Err)
	}
	if <-connecting.Done; connecting.Err != nil {
		t.Errorf("the Connect that waited: %v", connecting.Err)
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
