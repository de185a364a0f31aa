package hci

import (
	"time"

	"bluez-esphome/internal/att"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/smp"
)

// link is one connection of the host, or a dial that is to become one. Its fields are under Controller.mu.
type link struct {
	c          *Controller
	hold       *hold
	peer       ble.Address
	typ        ble.AddressType
	own        smp.Peer // the host, as it asked for the link
	handle     uint16   // 0: the host was not told yet
	up         bool     // the proxy's link is there
	closed     bool
	since      time.Time
	att        ATT // as smp nil until the host was told
	smp        Security
	frame      assembly
	uncredited int      // ACL packets of the host
	updating   bool     // LE Connection Update is not complete
	whenUp     []func() // pairings that wait for the proxy's link
}

func newLink(h *hold, a *attempt, peer ble.Address, typ ble.AddressType) *link {
	return &link{c: h.c, hold: h, peer: peer, typ: typ, own: a.own}
}

// open makes what answers the host, which was just told of the link.
func (l *link) open() {
	c, log := l.c, l.c.cfg.Log.With("device", l.peer)
	l.since = time.Now()
	l.att = c.cfg.NewATT(att.Config{
		Peer: l.peer, Log: log, After: l.after, Seen: c.cfg.Store.Seen(l.peer),
		Send: func(pdu []byte) { l.send(channelATT, pdu) },
		Do:   l.do,
		End: func(reason byte) {
			l.after(0, func() { // not from within
				l.hold.links.Disconnect(l.peer, func() {})
				l.end(errorCode(reason))
			})
		},
		SetSeen: func(s att.Seen) {
			c.cfg.Store.SetSeen(l.peer, s)
		},
	})
	l.smp = c.cfg.NewSMP(smp.Config{
		Initiator: l.own, Responder: smp.Peer{Address: l.peer, Type: l.typ}, Log: log, After: l.after, Keys: c.cfg.Store,
		Send: func(pdu []byte) { l.send(channelSMP, pdu) },
		Pair: l.pair, Cancel: l.cancelPair, Attempts: &c.attempts,
	})
	log.Debug("The host is connected", "handle", l.handle, "up", l.up)
}

// linkUp: the proxy's link is there, and the host was told.
func (l *link) linkUp() {
	l.up = true
	for _, f := range l.whenUp {
		f()
	}
	l.whenUp = nil
}

// do runs one operation on the proxy's link.
func (l *link) do(op ble.Operation, done func([]byte, error)) {
	l.hold.links.Do(l.peer, op, func(value []byte, err error) { l.later(func() { done(value, err) }) })
}

// pair waits for the proxy's link, if need be: the host may ask for encryption as soon as it is told that it is
// connected.
func (l *link) pair(done func(error)) {
	run := func() {
		l.hold.links.Pair(l.peer, func(err error) { l.later(func() { done(err) }) })
	}
	if !l.up {
		l.whenUp = append(l.whenUp, run)
		return
	}
	run()
}

// cancelPair calls off pair. While the proxy's link is not up links.Links would call off the connection.
func (l *link) cancelPair() {
	if !l.up {
		l.whenUp = nil
		return
	}
	l.hold.links.CancelConnect(l.peer)
}

// later runs f under the controller's lock, unless the link ended.
func (l *link) later(f func()) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if !l.closed {
		f()
	}
}

// after runs f under the controller's lock once d has passed, unless the link ended or stop was called.
func (l *link) after(d time.Duration, f func()) (stop func()) {
	stopped := false // under Controller.mu
	t := time.AfterFunc(d, func() {
		l.later(func() {
			if !stopped {
				f()
			}
		})
	})
	return func() { stopped = true; t.Stop() }
}

// end tells the host that the link ended. What is left of the hold on it is let go of by the caller, or is gone.
func (l *link) end(reason errorCode) {
	if l.closed {
		return
	}
	if l.handle != 0 && reason != localHostEnded {
		l.smp.Lost()
	}
	l.close()
	l.c.disconnected(l, reason)
}

// close ends the link without an event.
func (l *link) close() {
	l.closed = true
	if l.handle != 0 {
		delete(l.c.links, l.handle)
		l.att.Close()
		l.smp.Close()
	}
	l.whenUp = nil
}

// link finds the link of a command that begins with a handle, or nil, which was answered.
func (c *Controller) link(op uint16, p []byte) *link {
	l := c.links[u16(p)]
	if l == nil {
		c.commandStatus(op, unknownConnection)
	}
	return l
}
