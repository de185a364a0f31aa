package tests

import (
	"testing"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// TestClientLeaves: a client that discovers, has notifications, a descriptor and an agent, disconnects from the bus.
// All that it had ends, but not the link that it made (in bluetoothd 5.87 a connection belongs to no client).
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	bus := harness.Demo(t)
	a := newClient(t, bus)
	b := newClient(t, bus)
	b.discover(pulsePath)
	b.connect(pulsePath)
	counter, heart := b.char(pulsePath, counterUUID), b.char(pulsePath, heartRateUUID)
	b.Call("/org/bluez", "org.bluez.AgentManager1.RegisterAgent", dbus.ObjectPath("/agent"), "NoInputNoOutput")
	b.Call(counter, charIface+".StartNotify")
	var fd dbus.UnixFD
	var mtu uint16
	if err := b.Call(heart, charIface+".AcquireNotify", map[string]dbus.Variant{}).Store(&fd, &mtu); err != nil || mtu != 247 {
		t.Fatalf("MTU %d, %v", mtu, err)
	}
	ends := []struct {
		path        dbus.ObjectPath
		iface, name string
	}{
		{adapterPath, adapterIface, "Discovering"}, {adapterPath, adapterIface, "Pairable"},
		{counter, charIface, "Notifying"}, {heart, charIface, "NotifyAcquired"},
	}
	for _, e := range ends {
		if a.get(e.path, e.iface, e.name) != true {
			t.Errorf("%s is not true while the client is there", e.name)
		}
	}
	if err := b.Conn.Close(); err != nil {
		t.Fatal(err)
	}
	for _, e := range ends {
		for a.get(e.path, e.iface, e.name) != false {
			a.until(e.name+" false", func(s *dbus.Signal) bool { return s.Path == e.path && changed(s, e.iface, e.name) == false })
		}
	}
	if a.get(pulsePath, deviceIface, "Connected") != true {
		t.Error("the link went with the client that made it")
	}
	// The next client can have all of it.
	a.Call(adapterPath, adapterIface+".StartDiscovery")
	a.Call(counter, charIface+".StartNotify")
	a.until("a value", func(s *dbus.Signal) bool { return s.Path == counter && changed(s, charIface, "Value") != nil })
}
