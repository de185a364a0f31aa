package reload

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

// readEvery is after how many notifications a client reads a value besides.
const readEvery = 10

// client is a program with a connection of its own to the bus, which follows the counter of one device.
type client struct {
	*harness.Client
	device  dbus.ObjectPath
	counter dbus.ObjectPath
	other   dbus.ObjectPath // what it reads; a reading of the counter would be signalled like a notification
	signals chan *dbus.Signal

	values, reads atomic.Int32
	wrong         atomic.Pointer[string] // the first thing that it noticed
	leaving, done chan struct{}
}

// newClient connects to a device and follows its counter until the test ends.
func newClient(t *testing.T, bus *harness.Bus, device dbus.ObjectPath) *client {
	t.Helper()
	c := &client{Client: bus.Client(t), device: device, signals: make(chan *dbus.Signal, 10_000), leaving: make(chan struct{}), done: make(chan struct{})}
	for _, match := range [][]dbus.MatchOption{
		{dbus.WithMatchSender("org.bluez"), dbus.WithMatchPathNamespace(device)},
		{dbus.WithMatchSender("org.bluez"), dbus.WithMatchInterface(objectManager)},
		{dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, "org.bluez")},
	} {
		if err := c.Conn.AddMatchSignal(match...); err != nil {
			t.Fatal(err)
		}
	}
	c.Conn.Signal(c.signals)
	c.Call(device, deviceIface+".Connect")
	for end := time.Now().Add(harness.Limit); c.counter == ""; {
		c.counter = c.find(counterUUID)
		if c.counter == "" && time.Now().After(end) {
			t.Fatalf("%s has no counter", device)
		}
	}
	c.other = c.find(greetingUUID)
	c.Call(c.counter, charIface+".StartNotify")
	go c.follow()
	return c
}

// find gives the characteristic with that UUID, once the device has resolved services.
func (c *client) find(uuid string) dbus.ObjectPath {
	c.T.Helper()
	objects := c.Objects()
	if objects[c.device][deviceIface]["ServicesResolved"].Value() != true {
		return ""
	}
	for path, ifaces := range objects {
		if strings.HasPrefix(string(path), string(c.device)+"/") && ifaces[charIface]["UUID"].Value() == uuid {
			return path
		}
	}
	return ""
}

func (c *client) notice(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.wrong.CompareAndSwap(nil, &text)
}

// follow reads signals until the client is to leave, or the connection is closed.
func (c *client) follow() {
	defer close(c.done)
	var last byte
	for {
		var s *dbus.Signal
		select {
		case <-c.leaving:
			return
		case s = <-c.signals:
		}
		if s == nil {
			return
		}
		switch s.Name {
		case properties + ".PropertiesChanged":
			values, _ := s.Body[1].(map[string]dbus.Variant)
			for _, name := range []string{"Connected", "ServicesResolved", "Notifying"} {
				if values[name].Value() == false {
					c.notice("%s of %s became false after %d values", name, s.Path, c.values.Load())
				}
			}
			v, ok := values["Value"].Value().([]byte)
			if s.Path != c.counter || !ok || len(v) == 0 {
				continue
			}
			n := c.values.Add(1)
			if n > 1 && v[len(v)-1] != last+1 {
				c.notice("value %d followed %d", v[len(v)-1], last)
			}
			last = v[len(v)-1]
			if n%readEvery == 0 {
				c.read()
			}
		case deviceIface + ".Disconnected":
			if s.Path == c.device {
				c.notice("Disconnected(%v) after %d values", s.Body, c.values.Load())
			}
		case objectManager + ".InterfacesRemoved":
			if path, _ := s.Body[0].(dbus.ObjectPath); path == adapterPath || path == c.device || strings.HasPrefix(string(path), string(c.device)+"/") {
				c.notice("%s was removed", path)
			}
		case "org.freedesktop.DBus.NameOwnerChanged":
			c.notice("org.bluez changed hands: %v", s.Body)
		}
	}
}

// read is what a client does besides: signals wait for it, in order.
func (c *client) read() {
	if err := c.Try(c.other, charIface+".ReadValue", map[string]dbus.Variant{}).Err; err != nil {
		c.notice("ReadValue: %v", err)
		return
	}
	c.reads.Add(1)
}

// await waits for more values.
func (c *client) await(n int32) {
	c.T.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	from, end := c.values.Load(), time.Now().Add(harness.Limit)
	for c.values.Load() < from+n {
		if time.Now().After(end) {
			c.T.Fatalf("%s: no %d further values within %v", c.device, n, harness.Limit)
		}
		<-tick.C
	}
}

// end has the client finish what it does, closes the connection and tells what it noticed.
func (c *client) end() {
	c.T.Helper()
	close(c.leaving)
	<-c.done
	if err := c.Conn.Close(); err != nil {
		c.T.Error(err)
	}
	if w := c.wrong.Load(); w != nil {
		c.T.Errorf("the client of %s noticed: %s", c.device, *w)
	}
}
