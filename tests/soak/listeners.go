package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	// backOff is how long a client waits after a failure.
	backOff = 3 * time.Second
	// workEvery is how often a client reads and writes on a link.
	workEvery = 5 * time.Second
	// knownWithin is how soon a device that advertises twice a second is to be found.
	knownWithin = 90 * time.Second
	// lossNoticed is how soon after a failure the link is to be reported as lost, if that was why.
	lossNoticed = 40 * time.Second
)

// hold keeps a device connected and its numbers coming, until ctx ends. With pipe they come through AcquireNotify.
func (c *client) hold(ctx context.Context, l *link, r *rand.Rand, pipe bool) {
	for pause(ctx, time.Duration(r.Int64N(int64(time.Second)))) {
		if c.known(ctx, l) && c.connect(ctx, l) {
			c.s.tally.link(c.name+string(l.path), true)
			c.use(ctx, l, r, pipe)
			c.s.tally.link(c.name+string(l.path), false)
		}
		if !pause(ctx, backOff) {
			return
		}
	}
}

// known waits until the device's object is there, discovering meanwhile.
func (c *client) known(ctx context.Context, l *link) bool {
	there := func() bool {
		return c.call(ctx, l.path, properties+".Get", callTimeout, deviceIface, "Address").Err == nil
	}
	if there() {
		return true
	}
	if !c.discover(ctx) {
		return false
	}
	defer c.call(context.WithoutCancel(ctx), adapterPath, adapterIface+".StopDiscovery", callTimeout)
	for begun := time.Now(); time.Since(begun) < knownWithin; {
		if !pause(ctx, 500*time.Millisecond) {
			return false
		}
		if there() {
			return true
		}
	}
	c.s.found.add(c.name, string(l.path)+" is not found")
	return false
}

// discover starts discovery, which a client may have started already for another device.
func (c *client) discover(ctx context.Context) bool {
	err := c.call(ctx, adapterPath, adapterIface+".StartDiscovery", callTimeout).Err
	if err != nil && errorName(err) != "org.bluez.Error.InProgress" && ctx.Err() == nil {
		c.s.found.add(c.name+": StartDiscovery", errorText(err))
		return false
	}
	return err == nil || ctx.Err() == nil
}

// connect brings up the link and waits for its services. That it fails is what outages do; it is counted by reason.
func (c *client) connect(ctx context.Context, l *link) bool {
	begun := time.Now()
	if err := c.call(ctx, l.path, deviceIface+".Connect", linkTimeout).Err; err != nil {
		if ctx.Err() == nil {
			c.s.failed("Connect", err)
		}
		return false
	}
	c.s.tally.took("Connect", time.Since(begun))
	lost := c.losses(l)
	if !c.await(ctx, l, linkTimeout, func() bool { return l.resolved || l.lost > lost }) {
		if ctx.Err() == nil {
			c.s.found.add(c.name, string(l.path)+": connected, but the services are not resolved")
		}
		return false
	}
	return c.up(l)
}

func (c *client) up(l *link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return l.connected && l.resolved
}

// use subscribes, then reads and writes until the link is lost.
func (c *client) use(ctx context.Context, l *link, r *rand.Rand, pipe bool) {
	lost := c.losses(l)
	if pipe {
		if !c.acquire(ctx, l, lost) {
			return
		}
	} else if c.onLink(ctx, l, lost, "StartNotify", c.call(ctx, l.path+numbersPath, charIface+".StartNotify", linkTimeout).Err) {
		c.mu.Lock()
		if l.connected && l.lost == lost {
			l.numbers.arm()
		}
		c.mu.Unlock()
	} else {
		return
	}
	for c.losses(l) == lost && pause(ctx, workEvery) {
		c.mu.Lock()
		l.numbers.check(c.s)
		c.mu.Unlock()
		value := binary.LittleEndian.AppendUint32(nil, r.Uint32())
		// Each client has its own register: nobody else writes it.
		if !c.write(ctx, l, lost, value) {
			return
		}
		var got []byte
		if !c.read(ctx, l, lost, &got) {
			return
		}
		if !bytes.Equal(got, value) && c.losses(l) == lost {
			c.s.found.add(c.name, string(l.path)+": read something else than was written")
		}
	}
	if ctx.Err() != nil {
		c.call(context.WithoutCancel(ctx), l.path, deviceIface+".Disconnect", callTimeout)
	}
}

func (c *client) write(ctx context.Context, l *link, lost uint64, value []byte) bool {
	begun := time.Now()
	err := c.call(ctx, l.path+registerPath, charIface+".WriteValue", linkTimeout, value, map[string]dbus.Variant{"type": dbus.MakeVariant("request")}).Err
	if err == nil {
		c.s.tally.took("WriteValue", time.Since(begun))
	}
	return c.onLink(ctx, l, lost, "WriteValue", err)
}

func (c *client) read(ctx context.Context, l *link, lost uint64, into *[]byte) bool {
	begun := time.Now()
	call := c.call(ctx, l.path+registerPath, charIface+".ReadValue", linkTimeout, map[string]dbus.Variant{})
	err := call.Err
	if err == nil {
		c.s.tally.took("ReadValue", time.Since(begun))
		err = call.Store(into)
	}
	return c.onLink(ctx, l, lost, "ReadValue", err)
}

// onLink judges an operation's error: it is expected only if the link was lost, of which the client hears about then.
func (c *client) onLink(ctx context.Context, l *link, lost uint64, op string, err error) bool {
	if err == nil || ctx.Err() != nil {
		return err == nil
	}
	if c.await(ctx, l, lossNoticed, func() bool { return l.lost > lost }) {
		c.s.failed(op+" on a link that was lost", err)
	} else if ctx.Err() == nil {
		c.s.found.add(c.name+": "+op+" on a link that stayed up", errorText(err))
	}
	return false
}

// acquire takes the numbers from a descriptor.
func (c *client) acquire(ctx context.Context, l *link, lost uint64) bool {
	call := c.call(ctx, l.path+numbersPath, charIface+".AcquireNotify", linkTimeout, map[string]dbus.Variant{})
	var (
		fd  dbus.UnixFD
		mtu uint16
	)
	err := call.Err
	if err == nil {
		err = call.Store(&fd, &mtu)
	}
	if !c.onLink(ctx, l, lost, "AcquireNotify", err) {
		return false
	}
	if err := syscall.SetNonblock(int(fd), true); err != nil { // so that Close ends a Read
		c.s.found.add(c.name, err.Error())
	}
	f := os.NewFile(uintptr(fd), "numbers")
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	go func() { // ends with the link, which closes the other side, or with ctx
		defer stop()
		defer f.Close()
		n := numbers{of: c.name + " pipe of " + string(l.path)}
		buf := make([]byte, 512)
		for {
			k, err := f.Read(buf)
			if err != nil || k == 0 {
				return
			}
			n.take(c.s, buf[:k])
		}
	}()
	return true
}

// failed counts a failure that outages explain.
func (s *soak) failed(op string, err error) {
	s.tally.add("failed: "+op+": "+errorText(err), 1)
	if errorName(err) == "" { // no answer at all
		s.found.add(op, err.Error())
	}
}
