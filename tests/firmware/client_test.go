package firmware

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"

	"github.com/godbus/dbus/v5"
)

const (
	adapterPath    = dbus.ObjectPath("/org/bluez/hci0")
	adapterIface   = "org.bluez.Adapter1"
	deviceIface    = "org.bluez.Device1"
	serviceIface   = "org.bluez.GattService1"
	charIface      = "org.bluez.GattCharacteristic1"
	descIface      = "org.bluez.GattDescriptor1"
	proxyIface     = "org.bluez_esphome.Proxy1"
	extensionIface = "org.bluez_esphome.Device1"
	properties     = "org.freedesktop.DBus.Properties"
	objectManager  = "org.freedesktop.DBus.ObjectManager"
)

// How long calls may take, however busy the machine is. The times that the daemon promises, 20 s and 30 s, are tested
// in fake time (internal/gatt).
const (
	connectTime   = limit
	operationTime = limit
)

// client is one program on the bus.
type client struct {
	t    testing.TB
	conn *dbus.Conn
}

func (w *world) connect(t testing.TB) *client {
	t.Helper()
	conn, err := dbus.Connect(w.bus)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t, conn}
}

// try makes a call, which may not take longer than d.
func (c *client) try(d time.Duration, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	call := c.conn.Object("org.bluez", path).CallWithContext(ctx, method, 0, args...)
	if errors.Is(call.Err, context.DeadlineExceeded) {
		c.t.Errorf("%s %s did not return within %v", path, method, d)
	}
	return call
}

// call makes a call that has to succeed.
func (c *client) call(path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	c.t.Helper()
	call := c.try(operationTime, path, method, args...)
	if call.Err != nil {
		c.t.Fatalf("%s %s: %v", path, method, call.Err)
	}
	return call
}

// refused makes a call that has to fail with that error name within d; it returns the message.
func (c *client) refused(d time.Duration, name string, path dbus.ObjectPath, method string, args ...any) string {
	c.t.Helper()
	call := c.try(d, path, method, args...)
	var err dbus.Error
	if !errors.As(call.Err, &err) || err.Name != name {
		c.t.Fatalf("%s %s: %v, want %s", path, method, call.Err, name)
	}
	return err.Error()
}

// get reads a property; nil if it is absent.
func (c *client) get(path dbus.ObjectPath, iface, name string) any {
	var v dbus.Variant
	if call := c.try(operationTime, path, properties+".Get", iface, name); call.Err != nil || call.Store(&v) != nil {
		return nil
	}
	return v.Value()
}

// until waits for a property to have a value.
func (c *client) until(d time.Duration, path dbus.ObjectPath, iface, name string, want any) {
	c.t.Helper()
	var last any
	defer func() {
		if c.t.Failed() {
			c.t.Logf("%s %s is %v", path, name, last)
		}
	}()
	eventually(c.t, d, name+" of "+string(path)+" is as wanted", func() bool {
		last = c.get(path, iface, name)
		return last == want
	})
}

// link connects and waits for the services. A device that nothing was heard of for long has no object until it is heard
// again.
func (c *client) link(path dbus.ObjectPath) {
	c.t.Helper()
	c.connected(path, func(error) bool { return false })
}

// connected is link that goes on after an error for which again holds.
func (c *client) connected(path dbus.ObjectPath, again func(error) bool) {
	c.t.Helper()
	eventually(c.t, limit, string(path)+" is connected", func() bool {
		err := c.try(connectTime, path, deviceIface+".Connect").Err
		var answer dbus.Error
		if err == nil {
			return true
		}
		gone := errors.As(err, &answer) && (answer.Name == "org.freedesktop.DBus.Error.UnknownMethod" || answer.Name == "org.freedesktop.DBus.Error.UnknownObject")
		if !gone && !again(err) {
			c.t.Fatalf("%s Connect: %v", path, err)
		}
		return false
	})
	c.until(limit, path, deviceIface, "ServicesResolved", true)
}

type managed = map[dbus.ObjectPath]map[string]map[string]dbus.Variant

func (c *client) objects() managed {
	c.t.Helper()
	var out managed
	if err := c.call("/", objectManager+".GetManagedObjects").Store(&out); err != nil {
		c.t.Fatal(err)
	}
	return out
}

// char is the path of a characteristic of a peripheral.
func (c *client) char(device dbus.ObjectPath, uuid ble.UUID) dbus.ObjectPath {
	return device + map[ble.UUID]dbus.ObjectPath{
		echo: "/service0004/char0005", counter: "/service0004/char0008", event: "/service0004/char000b", secret: "/service0004/char000e",
	}[uuid]
}

func (c *client) read(path dbus.ObjectPath) string {
	c.t.Helper()
	var b []byte
	if err := c.call(path, charIface+".ReadValue", map[string]dbus.Variant{}).Store(&b); err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

func (c *client) write(path dbus.ObjectPath, value, how string) {
	c.t.Helper()
	c.call(path, charIface+".WriteValue", []byte(value), map[string]dbus.Variant{"type": dbus.MakeVariant(how)})
}

// subscribe begins notifications, once more where the answer did not come in time: the daemon waits for it 10 s, and asks
// twice (internal/apiconn has that in fake time).
func (c *client) subscribe(chr dbus.ObjectPath) {
	c.t.Helper()
	eventually(c.t, limit, string(chr)+" notifies", func() bool {
		err := c.try(operationTime, chr, charIface+".StartNotify").Err
		if err != nil && !strings.Contains(err.Error(), "0x0e") {
			c.t.Fatalf("%s StartNotify: %v", chr, err)
		}
		return err == nil
	})
}

// values gives the values that a characteristic notifies from now on.
func (c *client) values(path dbus.ObjectPath) <-chan string {
	c.t.Helper()
	signals := make(chan *dbus.Signal, 64)
	c.conn.Signal(signals)
	if err := c.conn.AddMatchSignal(dbus.WithMatchSender("org.bluez"), dbus.WithMatchObjectPath(path), dbus.WithMatchMember("PropertiesChanged")); err != nil {
		c.t.Fatal(err)
	}
	out := make(chan string, 64)
	done := make(chan struct{})
	c.t.Cleanup(func() { c.conn.RemoveSignal(signals); close(done) })
	go func() {
		for {
			select {
			case s := <-signals:
				if s == nil || s.Path != path {
					continue
				}
				if v, ok := s.Body[1].(map[string]dbus.Variant)["Value"]; ok {
					select {
					case out <- string(v.Value().([]byte)):
					default:
					}
				}
			case <-done:
				return
			}
		}
	}()
	return out
}

// notified waits for that value.
func (c *client) notified(values <-chan string, want string) {
	c.t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		select {
		case v := <-values:
			if v == want {
				return
			}
		case <-timeout.C:
			c.t.Fatalf("%q was not notified", want)
		}
	}
}
