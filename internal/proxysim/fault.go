package proxysim

import (
	"context"
	"net"
	"sync"
	"time"
)

// Fault is a way in which a proxy misbehaves towards its clients.
type Fault uint8

// Faults.
const (
	FaultNone Fault = iota
	// FaultRefuse: new connections are accepted and closed at once without a byte.
	FaultRefuse
	// FaultSilent: new connections are accepted and never answered.
	FaultSilent
	// FaultHalfOpen: on every connection nothing passes any more, in either
	// direction, and nobody is told. They are lost for good: when the fault ends, they are closed.
	FaultHalfOpen
)

// faults is how a proxy misbehaves at present.
type faults struct {
	mu    sync.Mutex
	mode  Fault
	delay time.Duration
}

func (f *faults) fault() Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mode
}

func (f *faults) writeDelay() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.delay
}

// SetFault makes the proxy misbehave, or with FaultNone behave.
func (p *Proxy) SetFault(f Fault) {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	p.faults.mode = f
}

// SetWriteDelay makes everything the proxy sends wait for d first, as on a bad network.
func (p *Proxy) SetWriteDelay(d time.Duration) {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	p.faults.delay = d
}

// client is one connection of a proxy, through its faults.
type client struct {
	net.Conn
	faults *faults
	cancel context.CancelCauseFunc
	done   <-chan struct{} // closed when the connection is to end

	mu   sync.Mutex
	lost bool // something was swallowed
}

// swallow reports whether nothing passes at present, and ends a connection for which that is over.
func (c *client) swallow() bool {
	half := c.faults.fault() == FaultHalfOpen
	c.mu.Lock()
	defer c.mu.Unlock()
	if !half && c.lost {
		c.cancel(errLost)
	}
	c.lost = c.lost || half
	return c.lost
}

// Read reads from the client unless the connection is half open.
func (c *client) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.swallow() {
			return n, err
		}
	}
}

// Write writes to the client, late if so wished, or nowhere if the connection is half open.
func (c *client) Write(b []byte) (int, error) {
	if d := c.faults.writeDelay(); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.done:
			return 0, net.ErrClosed
		}
	}
	if c.swallow() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// discard reads and answers nothing until the connection ends.
func (c *client) discard() error {
	buf := make([]byte, 4096)
	for {
		if _, err := c.Conn.Read(buf); err != nil {
			return err
		}
	}
}
