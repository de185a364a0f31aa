package tests

import (
	"context"
	"testing"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

const (
	adapterPath   = dbus.ObjectPath("/org/bluez/hci0")
	adapterIface  = "org.bluez.Adapter1"
	deviceIface   = "org.bluez.Device1"
	charIface     = "org.bluez.GattCharacteristic1"
	properties    = "org.freedesktop.DBus.Properties"
	objectManager = "org.freedesktop.DBus.ObjectManager"
)

// client is a BlueZ client with the signals of org.bluez in order.
type client struct {
	*harness.Client
	signals chan *dbus.Signal
}

// newClient connects and subscribes to every signal of org.bluez.
func newClient(t testing.TB, bus *harness.Bus) *client {
	t.Helper()
	c := &client{Client: bus.Client(t), signals: make(chan *dbus.Signal, 100_000)}
	if err := c.Conn.AddMatchSignal(dbus.WithMatchSender("org.bluez")); err != nil {
		t.Fatal(err)
	}
	c.Conn.Signal(c.signals)
	return c
}

func (c *client) object(path dbus.ObjectPath) dbus.BusObject { return c.Conn.Object("org.bluez", path) }

func (c *client) get(path dbus.ObjectPath, iface, name string) any {
	c.T.Helper()
	var v dbus.Variant
	if err := c.Call(path, properties+".Get", iface, name).Store(&v); err != nil {
		c.T.Fatal(err)
	}
	return v.Value()
}

// until reads signals until accept returns true for one.
func (c *client) until(what string, accept func(*dbus.Signal) bool) {
	c.T.Helper()
	ctx, stop := context.WithTimeout(context.Background(), harness.Limit)
	defer stop()
	for {
		select {
		case s := <-c.signals:
			if s == nil {
				c.T.Fatalf("the bus connection closed while waiting for %s", what)
			}
			if accept(s) {
				return
			}
		case <-ctx.Done():
			c.T.Fatalf("no %s within %v", what, harness.Limit)
		}
	}
}

// discover starts discovery and waits for the device.
func (c *client) discover(path dbus.ObjectPath) {
	c.T.Helper()
	c.Call(adapterPath, adapterIface+".StartDiscovery")
	if _, there := c.Objects()[path]; there {
		return
	}
	c.until("discovery of "+string(path), func(s *dbus.Signal) bool {
		return s.Name == objectManager+".InterfacesAdded" && s.Body[0] == path
	})
}

// connect connects to the device and waits for its services.
func (c *client) connect(path dbus.ObjectPath) {
	c.T.Helper()
	c.Call(path, deviceIface+".Connect")
	if c.get(path, deviceIface, "ServicesResolved") == true {
		return
	}
	c.until("services of "+string(path), func(s *dbus.Signal) bool {
		return s.Path == path && changed(s, deviceIface, "ServicesResolved") == true
	})
}

// char finds the path of a characteristic by UUID.
func (c *client) char(dev dbus.ObjectPath, uuid string) dbus.ObjectPath {
	c.T.Helper()
	for path, ifaces := range c.Objects() {
		if p := ifaces[charIface]; p != nil && p["UUID"].Value() == uuid && len(path) > len(dev) && path[:len(dev)] == dev {
			return path
		}
	}
	c.T.Fatalf("%s has no characteristic %s", dev, uuid)
	return ""
}

// changed gives the value that a PropertiesChanged signal sets, or nil.
func changed(s *dbus.Signal, iface, name string) any {
	if s.Name != properties+".PropertiesChanged" || len(s.Body) < 2 || s.Body[0] != iface {
		return nil
	}
	values, _ := s.Body[1].(map[string]dbus.Variant)
	v, ok := values[name]
	if !ok {
		return nil
	}
	return v.Value()
}
