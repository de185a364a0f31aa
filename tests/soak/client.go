package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// callTimeout is for calls that no air is involved in, linkTimeout for the others: longer than the daemon gives up.
const (
	callTimeout = 20 * time.Second
	linkTimeout = 60 * time.Second
)

// client is one program on the bus.
type client struct {
	s    *soak
	name string
	conn *dbus.Conn

	mu    sync.Mutex
	links map[dbus.ObjectPath]*link // by device
	chars map[dbus.ObjectPath]*link // by the path of the numbers
}

// link is what a client knows of one device.
type link struct {
	path                dbus.ObjectPath
	connected, resolved bool
	lost                uint64        // how often the link ended
	changed             chan struct{} // closed at the next change
	numbers             numbers
}

func (s *soak) newClient(name string, opts ...dbus.ConnOption) (*client, error) {
	c := &client{s: s, name: name, links: map[dbus.ObjectPath]*link{}, chars: map[dbus.ObjectPath]*link{}}
	opts = append([]dbus.ConnOption{dbus.WithSignalHandler(dbus.NewSequentialSignalHandler())}, opts...)
	conn, err := dbus.Connect(s.world.bus, opts...)
	if err != nil {
		return nil, err
	}
	c.conn = conn
	return c, nil
}

// watch listens to devices; it ends with the connection.
func (c *client) watch(paths ...dbus.ObjectPath) error {
	for _, p := range paths {
		l := &link{path: p, changed: make(chan struct{})}
		l.numbers.of = c.name + " " + string(p)
		c.links[p], c.chars[p+numbersPath] = l, l
		if err := c.conn.AddMatchSignal(dbus.WithMatchSender(bluez), dbus.WithMatchOption("path_namespace", string(p))); err != nil {
			return err
		}
	}
	signals := make(chan *dbus.Signal, 64)
	c.conn.Signal(signals)
	go func() {
		for sig := range signals {
			c.signal(sig)
		}
	}()
	return nil
}

func (c *client) signal(sig *dbus.Signal) {
	if sig.Name != properties+".PropertiesChanged" || len(sig.Body) != 3 {
		return
	}
	iface, _ := sig.Body[0].(string)
	props, _ := sig.Body[1].(map[string]dbus.Variant)
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.chars[sig.Path]; l != nil && iface == charIface {
		if v, ok := props["Value"].Value().([]byte); ok {
			l.numbers.take(c.s, v)
		}
		return
	}
	l := c.links[sig.Path]
	if l == nil || iface != deviceIface {
		return
	}
	if v, ok := props["Connected"].Value().(bool); ok {
		l.set(v, l.resolved)
	}
	if v, ok := props["ServicesResolved"].Value().(bool); ok {
		l.set(l.connected, v)
	}
}

// set is called with the client's lock.
func (l *link) set(connected, resolved bool) {
	if l.connected && !connected {
		l.lost++
		l.numbers.reset()
	}
	l.connected, l.resolved = connected, resolved
	close(l.changed)
	l.changed = make(chan struct{})
}

// await waits until ok, called with the lock, says so.
func (c *client) await(ctx context.Context, l *link, d time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		c.mu.Lock()
		done, changed := ok(), l.changed
		c.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// losses counts the ends of a link.
func (c *client) losses(l *link) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return l.lost
}

// call makes a call and gives its error as the bus names it.
func (c *client) call(ctx context.Context, path dbus.ObjectPath, method string, d time.Duration, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return c.conn.Object(bluez, path).CallWithContext(ctx, method, 0, args...)
}

// plain makes a call that may not fail while the client runs; into, unless nil, takes the result.
func (c *client) plain(ctx context.Context, path dbus.ObjectPath, method string, into any, args ...any) bool {
	call := c.call(ctx, path, method, callTimeout, args...)
	err := call.Err
	if err == nil && into != nil {
		err = call.Store(into)
	}
	if err != nil && ctx.Err() == nil {
		c.s.found.add(c.name+": "+method, errorText(err))
	}
	return err == nil
}

// errorText names an error of the bus by its name and text.
func errorText(err error) string {
	var e dbus.Error
	if errors.As(err, &e) {
		return e.Name + ": " + e.Error()
	}
	return err.Error()
}

func errorName(err error) string {
	var e dbus.Error
	if errors.As(err, &e) {
		return e.Name
	}
	return ""
}
