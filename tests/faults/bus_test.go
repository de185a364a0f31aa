package faults

import (
	"testing"

	"bluez-esphome/internal/dbusobj/dbustest"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// TestBusRestarted kills dbus-daemon under the daemon, with a client that discovers, is connected, has notifications
// and an agent. Sessions with proxies and links stay; what the client had is gone; a new client finds everything again.
func TestBusRestarted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := dbustest.Folder(t)
	address, stop := dbustest.StartIn(t, dir)
	bus := w.start(address)
	before := newClient(t, bus)
	busy(before)
	w.eventually("two sessions", func() bool { return w.sessions() == 2 })

	stop()
	bus.Daemon.Err.Expect(t, `level=ERROR msg="Lost the bus; connecting to it again`)
	w.eventually("nobody subscribes any more", func() bool {
		s, err := w.sim.Air().Status("0")
		return err == nil && len(s.Subscriptions) == 0
	})
	dbustest.StartIn(t, dir)
	bus.Daemon.Err.Expect(t, `msg="org.bluez is ours again"`)
	w.afterwards(bus)
	if n := bus.Daemon.Err.Count(`Lost the proxy`); n > 0 || w.sessions() != 2 {
		t.Errorf("%d proxies were lost, %d sessions", n, w.sessions())
	}
}

// TestPrivateBusKilled kills the dbus-daemon that the daemon started itself: it starts another one at the same address.
func TestPrivateBusKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bus := w.start("private")
	for range 3 {
		c := newClient(t, bus)
		busy(c)
		pid := busPID(c)
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		bus.Daemon.Err.Expect(t, `Lost the bus`)
		bus.Daemon.Err.Expect(t, `msg="org.bluez is ours again"`)
		w.afterwards(bus)
	}
	if n := bus.Daemon.Err.Count(`Lost the proxy`); n > 0 || w.sessions() != 2 {
		t.Errorf("%d proxies were lost, %d sessions", n, w.sessions())
	}
	pid := busPID(newClient(t, bus))
	bus.Daemon.Stop(t)
	w.eventually("the bus ends with the daemon", func() bool { return unix.Kill(pid, 0) == unix.ESRCH })
}

// busy gives a client one of everything that the daemon keeps for clients.
func busy(c *client) {
	c.T.Helper()
	c.connect(0)
	c.Call(devicePath(0)+numbers, charIface+".StartNotify")
	c.notified()
	c.Call("/org/bluez", "org.bluez.AgentManager1.RegisterAgent", dbus.ObjectPath("/agent"), "NoInputNoOutput")
	c.Until(adapterPath, adapterIface, "Pairable", true)
}

// afterwards compares what a new client finds with what has to be there.
func (w *world) afterwards(bus *harness.Bus) {
	t := w.t
	t.Helper()
	c := newClient(t, bus)
	for _, p := range []struct {
		path  dbus.ObjectPath
		iface string
		name  string
		want  any
	}{
		{adapterPath, adapterIface, "Discovering", false},
		{adapterPath, adapterIface, "Pairable", false},
		{devicePath(0), deviceIface, "Connected", true},
		{devicePath(0) + numbers, charIface, "Notifying", false},
		{"/org/bluez_esphome/proxy/near", "org.bluez_esphome.Proxy1", "State", "online"},
	} {
		if got := c.Get(p.path, p.iface, p.name); got != p.want {
			t.Errorf("%s of %s is %v, not %v", p.name, p.path, got, p.want)
		}
	}
	var value []byte
	if err := c.Call(devicePath(0)+register, charIface+".ReadValue", map[string]dbus.Variant{}).Store(&value); err != nil || string(value) != "hello" {
		t.Errorf("read %q, %v", value, err)
	}
	busy(c)
	c.connect(1)
	// The daemon notices who leaves the new bus, too.
	_ = c.Conn.Close()
	newClient(t, bus).Until(adapterPath, adapterIface, "Discovering", false)
}

// busPID is the process id of dbus-daemon.
func busPID(c *client) int {
	c.T.Helper()
	var pid uint32
	if err := c.Conn.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, "org.freedesktop.DBus").Store(&pid); err != nil || pid == 0 {
		c.T.Fatal(pid, err)
	}
	return int(pid)
}
