package hci

import (
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/smp"
)

const (
	// connectWait is when the host is told of a connection whether the proxy's link is up or not: the kernel cancels 4 s
	// after it asked (Linux 6.1; 20 s from 6.12 on), and what waited for the connection fails then. A proxy often takes
	// longer. Until the link is there ATT is held, for which hosts wait 30 s.
	connectWait = 3 * time.Second
	// dialPause is the least time from one dial of an attempt to the next.
	dialPause = time.Second
)

// attempt is LE Create Connection until it is complete. Its fields are under Controller.mu.
//
//	begin ──▶ waiting ──heard──▶ dialling ──the link is up, or connectWait passed──▶ a link, of which the host is told
//	             ▲                  │
//	             └──────failed──────┘            either of them ──cancel, Reset──▶ over
//
// An absent device is waited for, as a controller does, and is not dialled: it costs no other device anything.
type attempt struct {
	c        *Controller
	list     bool // any device on the accept list
	peer     ble.Address
	typ      ble.AddressType
	own      smp.Peer
	interval uint16 // the longest that the host wants, in 1.25 ms
	latency  uint16 // in connection events
	timeout  uint16 // of supervision, in 10 ms

	link    *link     // that is dialled; nil: waiting
	dialled time.Time // last
	hurries bool      // connectWait passed without a dial: the next one has as long again
	early   *time.Timer
	again   *time.Timer // ends dialPause; nil: it does not run
}

// begin dials a device that is there, or waits for it.
func (a *attempt) begin() {
	a.hurry()
	a.look()
}

// hurry completes the attempt early once connectWait has passed.
func (a *attempt) hurry() {
	a.early = a.after(connectWait, func() {
		if a.link == nil {
			a.hurries = true
			return
		}
		a.complete()
	})
}

// after calls f unless the attempt is over by then.
func (a *attempt) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() {
		a.c.mu.Lock()
		defer a.c.mu.Unlock()
		if a.c.attempt == a {
			f()
		}
	})
}

// stop ends the timers and the wait; the attempt is none any more.
func (a *attempt) stop() {
	a.c.attempt = nil
	a.early.Stop()
	if a.again != nil {
		a.again.Stop()
	}
	if a.link == nil {
		a.c.scan.wait(waitsNot, 0)
		a.c.wish()
	}
}

// look dials the device, or one of the list, if it was heard just now, and else waits for it.
func (a *attempt) look() {
	if a.list {
		if target, ok := a.c.scan.acceptedNow(func(d ble.Address) bool { return a.c.linkOf(d) != nil }); ok {
			a.dial(target)
			return
		}
		a.c.scan.wait(waitsList, 0)
	} else {
		if a.c.scan.present(a.peer) {
			a.dial(a.peer)
			return
		}
		a.c.scan.wait(waitsDevice, a.peer)
	}
	a.c.wish()
}

// heard takes a device that was heard, for which an attempt waited at that moment.
func (c *Controller) heard(device ble.Address) {
	a := c.attempt
	if a == nil || a.link != nil {
		return
	}
	if _, listed := c.scan.accepted(device); a.list && listed || !a.list && device == a.peer {
		a.dial(device)
	}
}

// dial asks for the link to a device, unless the host has one, or it was asked for just now.
func (a *attempt) dial(target ble.Address) {
	c := a.c
	if c.linkOf(target) != nil {
		return
	}
	c.scan.wait(waitsNot, 0)
	if left := dialPause - time.Since(a.dialled); left > 0 && !a.dialled.IsZero() {
		a.again = a.after(left, a.look)
		return
	}
	c.wish()
	typ := a.typ
	if a.list {
		typ, _ = c.scan.accepted(target)
	}
	a.dialled = time.Now()
	if a.hurries {
		a.hurries = false
		a.hurry()
	}
	h := c.hold()
	l := newLink(h, a, target, typ)
	a.link = l
	h.links.Connect(target, typ, c.cfg.Air.Via(target), func(err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !l.closed {
			a.answered(l, err)
		}
	})
}

// answered takes the answer to a dial of which the host did not let go.
func (a *attempt) answered(l *link, err error) {
	switch {
	case err == nil:
		if l.handle == 0 {
			a.complete()
		}
		l.linkUp()
	case l.handle != 0: // the host was told early
		l.end(notEstablished)
	default: // never an error event; the host cancels, or the device is heard again
		a.c.cfg.Log.Debug("A connection failed; waiting for the device", "device", l.peer, "error", err)
		l.close()
		a.link = nil
		a.look()
	}
}

// complete tells the host that it is connected.
func (a *attempt) complete() {
	c, l := a.c, a.link
	a.stop()
	l.handle = c.newHandle()
	c.links[l.handle] = l
	c.meta(subConnection, appendConnection(nil, success, l.handle, l.peer, l.typ, a.interval, a.latency, a.timeout)...)
	l.open()
}
