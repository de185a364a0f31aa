package dbusobj

import (
	"context"
	"errors"
	"sync"
	"time"
)

// How long it takes until the next attempt to connect again; each doubles it.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
	// dialTimeout bounds one attempt: a bus that takes the connection may hang.
	dialTimeout = 10 * time.Second
)

// Reconnect makes a Conn outlive its bus. When the bus goes away, whoever was on it is gone: every watch of a
// name fires, calls of ours fail with [ErrClosed], and answers to earlier calls are dropped. The tree stays as it
// is, and everything goes on without a bus until there is one again.
type Reconnect struct {
	// Name is owned on the new bus again.
	Name string
	// Prepare, unless nil, is called before each attempt, in a goroutine of its own. It gives the address at which to
	// connect, empty for the first one.
	Prepare func(ctx context.Context) (address string, err error)
	// Owned, unless nil, is called in the same goroutine once Name is owned on the new bus. After an error the bus is
	// given up and the attempts go on.
	Owned func() error
	// Lost and Back are called in the loop; neither may be nil. Back follows once Name is owned.
	Lost func(cause error)
	Back func()
}

// redialed is a connection to take over, or the error that ends the attempts.
type redialed struct {
	wire *wire
	err  error
}

// check takes note of what happened to the connection and waits until the bus is not too far behind. The end of Run
// is reported by false, with its cause, nil if that is ctx.
func (c *Conn) check(ctx context.Context) (bool, error) {
	for {
		var dead, room <-chan struct{}
		if w := c.wire.Load(); w != nil {
			dead, room = w.dead, w.out.room
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-dead:
			if err := c.lost(ctx); err != nil {
				return false, err
			}
			continue
		case r := <-c.redialed:
			if err := c.found(r); err != nil {
				return false, err
			}
			continue
		default:
		}
		if !c.out.full() {
			return true, nil
		}
		c.out.kick()
		select {
		case <-room:
		case <-ctx.Done():
		case <-dead:
		}
	}
}

// reconnection is how a Conn comes back after the loss of its bus. owned and dialing belong to the loop.
type reconnection struct {
	again    *Reconnect     // Config.Reconnect
	redialed chan redialed  // to the loop
	helpers  sync.WaitGroup // redial
	owned    bool           // Reconnect.Name is
	dialing  bool           // redial runs
}

// spawn runs redial in a goroutine; in the loop.
func (r *reconnection) spawn(redial func()) {
	r.dialing = true
	r.helpers.Go(redial)
}

// lost lets go of a dead connection. It gives the cause if that is the end.
func (c *Conn) lost(ctx context.Context) error {
	w := c.wire.Load()
	if c.again == nil {
		return w.cause
	}
	c.wire.Store(nil)
	w.close(w.cause) // what is sent from now on is dropped
	if c.owned {
		c.owned = false
		_ = c.guard("loss of the bus", func() { c.again.Lost(w.cause) })
	}
	for serial := range c.calls {
		c.finishCall(serial, nil, ErrClosed)
	}
	for name := range c.watches.names {
		c.nameGone(name)
	}
	c.watches.all = false
	if !c.dialing {
		c.spawn(func() { c.redial(ctx) })
	}
	return nil
}

// redial connects again, until that works, ctx ends, or somebody else owns the name.
func (c *Conn) redial(ctx context.Context) {
	for delay := firstRetry; ; delay = min(2*delay, lastRetry) {
		w, err := c.attempt(ctx)
		if err == nil {
			select {
			case c.redialed <- redialed{wire: w}:
			case <-ctx.Done():
				w.close(ErrClosed)
				return
			}
			// After the loop has it: calls may come as soon as the name is ours.
			name, cancel := context.WithTimeout(ctx, dialTimeout)
			err = c.requestName(name, w, c.again.Name)
			cancel()
			if err == nil && c.again.Owned != nil {
				err = c.again.Owned()
			}
			if err == nil {
				c.Post(func() { c.back(ctx, w) })
				return
			}
			w.fail(err)
		}
		if taken := new(NameTakenError); errors.As(err, &taken) {
			select {
			case c.redialed <- redialed{err: err}:
			case <-ctx.Done():
			}
			return
		}
		c.log.Debug("Cannot connect to the bus again", "error", err, "next", delay)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (c *Conn) attempt(ctx context.Context) (*wire, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	address := c.address
	if c.again.Prepare != nil {
		other, err := c.again.Prepare(ctx)
		if err != nil {
			return nil, err
		}
		if other != "" {
			address = other
		}
	}
	return c.dialWire(ctx, address)
}

// found takes a new connection over.
func (c *Conn) found(r redialed) error {
	if r.err != nil {
		return r.err
	}
	c.out = r.wire.out
	c.wire.Store(r.wire)
	for rule := range c.watches.rules {
		c.addMatch(rule)
	}
	return nil
}

// back ends the attempts; the name is owned on w.
func (c *Conn) back(ctx context.Context, w *wire) {
	c.dialing = false
	if c.wire.Load() == w {
		c.owned = true
		c.again.Back()
		return
	}
	c.spawn(func() { c.redial(ctx) }) // w was lost meanwhile
}
