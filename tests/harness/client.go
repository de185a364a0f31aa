package harness

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// Client is a program on the bus that calls the daemon.
type Client struct {
	T    testing.TB
	Conn *dbus.Conn
	// Limit bounds the time of a call, and of each wait.
	Limit time.Duration
}

// Client connects another program to the bus. Its Limit is the constant Limit.
func (b *Bus) Client(t testing.TB) *Client {
	t.Helper()
	return &Client{T: t, Conn: b.Connect(t), Limit: Limit}
}

// Try makes a call.
func (c *Client) Try(path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(context.Background(), c.Limit)
	defer cancel()
	return c.Conn.Object("org.bluez", path).CallWithContext(ctx, method, 0, args...)
}

// Call makes a call that has to succeed.
func (c *Client) Call(path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	c.T.Helper()
	call := c.Try(path, method, args...)
	if call.Err != nil {
		c.T.Fatalf("%s %s: %v", path, method, call.Err)
	}
	return call
}

// Objects is the answer of GetManagedObjects: objects, their interfaces, and the properties of these.
func (c *Client) Objects() map[dbus.ObjectPath]map[string]map[string]dbus.Variant {
	c.T.Helper()
	var out map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	if err := c.Call("/", "org.freedesktop.DBus.ObjectManager.GetManagedObjects").Store(&out); err != nil {
		c.T.Fatal(err)
	}
	return out
}

// Get reads a property; nil if it is absent.
func (c *Client) Get(path dbus.ObjectPath, iface, name string) any {
	var v dbus.Variant
	if c.Try(path, "org.freedesktop.DBus.Properties.Get", iface, name).Store(&v) != nil {
		return nil
	}
	return v.Value()
}

// Until waits until a property has that value.
func (c *Client) Until(path dbus.ObjectPath, iface, name string, want any) {
	c.T.Helper()
	var last any
	defer func() {
		if c.T.Failed() {
			c.T.Logf("%s of %s is %v", name, path, last)
		}
	}()
	c.Eventually(fmt.Sprintf("%s of %s is %v", name, path, want), func() bool {
		last = c.Get(path, iface, name)
		return last == want
	})
}

// Eventually waits until cond holds.
func (c *Client) Eventually(what string, cond func() bool) {
	c.T.Helper()
	Eventually(c.T, c.Limit, what, cond)
}

// Eventually waits until cond holds, at most for limit.
func Eventually(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	timeout, tick := time.NewTimer(limit), time.NewTicker(20*time.Millisecond)
	defer timeout.Stop()
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-timeout.C:
			t.Fatalf("it did not come about within %v that %s", limit, what)
		}
	}
}
