package bluezshim

import (
	"errors"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

// notifyState records which clients want a characteristic's notifications. While any client does, the characteristic is
// subscribed at the peripheral; sessions outlive the link (bluetoothd 5.87).
type notifyState struct {
	notifying   bool                    // the Notifying property
	sessions    map[string]*notifyAsker // StartNotify, by unique name
	pipe        *pipe                   // AcquireNotify's
	acquirer    string                  // the client of pipe
	acquireCall *dbusobj.Call           // an AcquireNotify that waits for the subscription
	internal    bool                    // the battery level is followed
	state       subscription
	link        int // the last link on which the characteristic was subscribed; see peer.link
}

// A notifyAsker is one client's StartNotify; call waits while the session is being set up.
type notifyAsker struct{ call *dbusobj.Call }

type subscription uint8

const (
	unsubscribed subscription = iota
	subscribing
	subscribed
)

// maxNotifySessions bounds the repetitions of one notification that local callers can ask for.
const maxNotifySessions = 256

func (c *char) startNotify(call *dbusobj.Call) {
	p, n := c.peer(), &c.notify
	s := n.sessions[call.Sender]
	switch {
	case p.connected && len(p.disconnecting) > 0:
		errNotConnected.to(call)
	case n.pipe != nil || n.acquireCall != nil:
		errNotPermitted("Notify acquired").to(call)
	case !c.canNotify():
		errNotSupported.to(call)
	case s != nil && (s.call != nil || !c.armed()): // it is being set up, on this link or on the next (bluetoothd 5.87)
		errInProgress.to(call)
	case s != nil:
		call.Reply()
	case len(n.sessions) >= maxNotifySessions:
		errFailed("Failed to register notify session").to(call)
	default:
		if n.sessions == nil {
			n.sessions = map[string]*notifyAsker{}
		}
		s = &notifyAsker{}
		n.sessions[call.Sender] = s
		p.shim.watchClient(call.Sender)
		if !p.connected {
			call.Reply() // it begins with the next link
			c.subscribe()
			return
		}
		s.call = call
		c.subscribe()
	}
}

// subscribe makes sure that the characteristic is subscribed, and settles those who wait for it.
func (c *char) subscribe() {
	n, p := &c.notify, c.peer()
	switch n.state {
	case subscribed:
		if c.armed() {
			c.settle(nil)
		}
		return // else it will be with the services, see rearmed
	case subscribing:
		return
	}
	n.state = subscribing
	c.links().Subscribe(p.addr, c.def.ValueHandle, func(err error) {
		p.shim.post(func() { c.subscribeDone(err) })
	})
}

// subscribeDone: a refusal ends the sessions. The end of the link ends those that were being set up; the others
// stay for the next link, for which Links remembers the subscription.
func (c *char) subscribeDone(err error) {
	n := &c.notify
	if n.state != subscribing {
		return // the characteristic is gone
	}
	n.state = subscribed
	if p := c.peer(); err == nil && p.connected {
		n.link = p.link
	}
	c.settle(err)
	c.unsubscribeIfIdle()
	c.peer().afterError(err)
}

// settle answers the sessions that are being set up.
func (c *char) settle(err error) {
	n := &c.notify
	lost := errors.Is(err, ble.ErrNotConnected)
	for sender, s := range n.sessions {
		call := s.call
		s.call = nil
		switch {
		case call == nil && (err == nil || lost):
		case err == nil:
			c.setNotifying(true)
			call.Reply()
		default:
			delete(n.sessions, sender)
			if call != nil {
				operationError(err).to(call)
			}
		}
	}
	if err != nil && !lost {
		n.internal = false
	}
	if len(n.sessions) == 0 {
		c.setNotifying(false)
	}
	c.settleAcquire(err)
}

func (c *char) setNotifying(on bool) {
	if c.notify.notifying != on {
		c.notify.notifying = on
		c.changed("Notifying")
	}
}

// armed says whether the characteristic is subscribed on the present link.
func (c *char) armed() bool {
	p := c.peer()
	return p.connected && c.notify.state == subscribed && c.notify.link == p.link
}

// rearmed: the link is up again and its subscriptions with it.
func (c *char) rearmed() {
	n := &c.notify
	if n.state != subscribed {
		return
	}
	n.link = c.peer().link
	if len(n.sessions) > 0 {
		c.setNotifying(true)
	}
	c.settle(nil)
	c.unsubscribeIfIdle()
}

func (c *char) stopNotify(call *dbusobj.Call) {
	n := &c.notify
	if n.pipe != nil {
		n.pipe.close() // whoever acquired it (bluetoothd 5.87)
		call.Reply()
		return
	}
	s := n.sessions[call.Sender]
	if s == nil || s.call != nil {
		errFailed("No notify session started").to(call)
		return
	}
	delete(n.sessions, call.Sender)
	call.Reply()
	c.sessionsChanged()
}

func (c *char) dropSession(sender string) {
	if s := c.notify.sessions[sender]; s != nil {
		if s.call != nil {
			errDisconnected.to(s.call) // nobody hears it, but a call that is not answered keeps what came with it
		}
		delete(c.notify.sessions, sender)
		c.sessionsChanged()
	}
}

func (c *char) sessionsChanged() {
	if len(c.notify.sessions) == 0 {
		c.setNotifying(false)
	}
	c.unsubscribeIfIdle()
}

func (c *char) unsubscribeIfIdle() {
	n := &c.notify
	if n.state != subscribed || len(n.sessions) > 0 || n.pipe != nil || n.acquireCall != nil || n.internal {
		return
	}
	n.state = unsubscribed
	c.links().Unsubscribe(c.peer().addr, c.def.ValueHandle)
}

// unsubscribed: the subscription could not be made again with another link. Its sessions are over: whoever asks for
// one again begins anew.
func (c *char) unsubscribed() {
	n := &c.notify
	if n.state != subscribed {
		return // what is being set up gets an answer of its own
	}
	n.state = unsubscribed
	c.settle(ble.ATTUnlikely)
	if n.pipe != nil {
		n.pipe.close()
	}
}

// linkDown: sessions stay, as bluetoothd's do, but for those that were being set up on a link that was not ready yet.
func (n *notifyState) linkDown(c *char) {
	if n.state == subscribed {
		c.settle(ble.ErrNotConnected)
	}
	n.internal = false
	c.unsubscribeIfIdle()
}

// removed ends the subscription of a characteristic whose objects are gone.
func (c *char) removed() {
	n := &c.notify
	for sender, s := range n.sessions {
		if s.call != nil {
			operationError(ble.ErrNotConnected).to(s.call)
		}
		delete(n.sessions, sender)
	}
	if call := n.acquireCall; call != nil {
		n.acquireCall = nil
		operationError(ble.ErrNotConnected).to(call)
	}
	c.settleAcquireWrite(ble.ErrNotConnected)
	c.closePipes()
	if n.state != unsubscribed {
		n.state, n.internal = unsubscribed, false
		c.links().Unsubscribe(c.peer().addr, c.def.ValueHandle)
	}
}

// maxRepeats is how often one notification is signalled. bluetoothd has no bound: the bus carries each signal to all
// that listen, so that the sessions of one program could hold up all others. Two is what is recorded, with two
// clients; more is of use to nobody.
const maxRepeats = 2

// notified is one notification or indication: each session signals it, although that repeats it
// (recorded of bluetoothd 5.87), up to maxRepeats times.
func (c *char) notified(value []byte) {
	n := &c.notify
	if n.internal {
		c.peer().setBattery(value)
	}
	if n.pipe != nil {
		n.pipe.send(value)
		return
	}
	repeats := 0
	for _, s := range n.sessions {
		if s.call == nil && repeats < maxRepeats {
			repeats++
			c.setValue(value)
		}
	}
}
