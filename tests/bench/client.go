package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names of D-Bus and BlueZ.
const (
	adapterPath    = "/org/bluez/hci0"
	adapterIface   = "org.bluez.Adapter1"
	deviceIface    = "org.bluez.Device1"
	charIface      = "org.bluez.GattCharacteristic1"
	managedObjects = "org.freedesktop.DBus.ObjectManager.GetManagedObjects"
	added          = "org.freedesktop.DBus.ObjectManager.InterfacesAdded"
	changed        = "org.freedesktop.DBus.Properties.PropertiesChanged"
)

// tree is what GetManagedObjects returns.
type tree = map[dbus.ObjectPath]map[string]map[string]dbus.Variant

// client is a connection to the bus that counts PropertiesChanged.
type client struct {
	*dbus.Conn
	count atomic.Int64
}

func (w *world) client() (*client, error) {
	c := &client{}
	conn, err := dbus.Connect(w.bus.Address, dbus.WithIncomingInterceptor(func(m *dbus.Message) {
		if m.Type == dbus.TypeSignal && m.Headers[dbus.FieldMember].Value() == "PropertiesChanged" {
			c.count.Add(1)
		}
	}))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the bus: %w", err)
	}
	c.Conn = conn
	if err := conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus.Properties")); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// quiet returns once no signal has come for a while.
func (c *client) quiet(ctx context.Context) error {
	last := c.count.Load()
	return poll(ctx, "the bus to be quiet", 200*time.Millisecond, func() bool {
		now := c.count.Load()
		same := now == last
		last = now
		return same
	})
}

// bluez calls a method of the daemon.
func bluez(ctx context.Context, c *dbus.Conn, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return c.Object("org.bluez", path).CallWithContext(ctx, method, 0, args...)
}

// startDiscovery starts discovery for a connection.
func startDiscovery(ctx context.Context, c *dbus.Conn) error {
	return bluez(ctx, c, adapterPath, adapterIface+".StartDiscovery").Err
}

// discover starts discovery for a connection, and has the proxies send all devices again and again until each is on the
// bus.
func (r *running) discover(ctx context.Context, c *dbus.Conn) error {
	if err := startDiscovery(ctx, c); err != nil {
		return fmt.Errorf("cannot discover: %w", err)
	}
	var err error
	n := 0
	perr := poll(ctx, fmt.Sprintf("%d devices on the bus", r.spec.Devices), 50*time.Millisecond, func() bool {
		var t tree
		err = r.everybody(ctx, 1)
		if err != nil {
			return true
		}
		err = bluez(ctx, c, "/", managedObjects).Store(&t)
		if err != nil {
			return true
		}
		n = 0
		for _, ifaces := range t {
			if _, ok := ifaces[deviceIface]; ok {
				n++
			}
		}
		return n >= r.spec.Devices
	})
	if perr != nil {
		perr = fmt.Errorf("%w; there are %d", perr, n)
	}
	err = errors.Join(err, perr)
	if err != nil {
		return r.daemon.failed(err)
	}
	return nil
}

// poll calls yes at an interval until it returns true.
func poll(ctx context.Context, what string, every time.Duration, yes func() bool) error {
	const limit = time.Minute
	for end := time.Now().Add(limit); ; {
		if err := pause(ctx, every); err != nil {
			return err
		}
		if yes() {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited %v for %s", limit, what)
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// devPath gives the object path of a device.
func devPath(address string) dbus.ObjectPath {
	return dbus.ObjectPath(adapterPath + "/dev_" + strings.ReplaceAll(address, ":", "_"))
}
