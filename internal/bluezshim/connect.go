package bluezshim

import (
	"errors"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

// callConnect is Device1.Connect; the tests are in bluetoothd 5.87's order.
func (d *device) callConnect(c *dbusobj.Call) {
	p := d.peer
	switch {
	case p.pairing != nil, p.connecting != nil:
		errInProgress.to(c)
	case p.connected && len(p.disconnecting) == 0:
		c.Reply()
	case p.connected: // the link is being ended
		errFailed("Operation already in progress").to(c)
	case !d.adapter.powered:
		errFailed("Input/output error").to(c)
	case p.st.Blocked:
		errFailed("le-connection-refused").to(c)
	default:
		p.connect(d.adapter.cfg.Via, func(err error) {
			if err != nil {
				connectError(err).to(c)
				return
			}
			c.Reply()
		})
	}
}

// connect starts an attempt; done is called in the loop. LinkUp has then been signalled.
func (p *peer) connect(via string, done func(error)) {
	at := &attempt{begun: p.shim.clock.Now(), done: []func(error){done}}
	p.connecting, p.via = at, via
	p.shim.links.Connect(p.addr, p.typ, via, func(err error) {
		p.shim.post(func() {
			if p.connecting == at {
				p.connecting = nil
			}
			for _, done := range at.done {
				done(err)
			}
			if err != nil {
				p.attemptFailed(at, err)
			}
		})
	})
}

// attemptFailed lets the 30 s of a temporary device begin anew. One whose attempt was called off goes at once if it was
// not heard meanwhile, as recorded of bluetoothd 5.87 (connect_then_disconnect_at_once). Where a client discovers, it
// is back with its next advertisement.
func (p *peer) attemptFailed(at *attempt, err error) {
	canceled := errors.Is(err, ble.ErrCanceled)
	for _, d := range slices.Clone(p.devices) {
		if canceled && d.temporary() && !p.connected && !p.everResolved && !d.heardSince(at.begun) {
			p.shim.conn.Flush()
			d.remove()
			if d.seen {
				d.adapter.cfg.Air.Forget(p.addr)
			}
			continue
		}
		d.touch()
	}
	p.release()
}

// onTheWay is how long an advertisement may take until we have it: proxies collect them.
const onTheWay = 500 * time.Millisecond

// heardSince says whether the device was heard after begun or is heard right now.
func (d *device) heardSince(begun time.Time) bool {
	now := d.adapter.shim.clock.Now()
	return slices.ContainsFunc(d.adapter.cfg.Air.Sources(d.peer.addr), func(s ble.Source) bool {
		return s.LastHeard.Sub(begun) > onTheWay || now.Sub(s.LastHeard) <= onTheWay
	})
}

// callDisconnect is Device1.Disconnect: it succeeds on an unconnected device, calls off a pending
// Connect, and else replies once the link is down.
func (d *device) callDisconnect(c *dbusobj.Call) {
	p := d.peer
	switch {
	case len(p.disconnecting) >= maxShared, p.connecting != nil && len(p.connecting.done) >= maxShared:
		errInProgress.to(c)
	case p.connected:
		p.disconnect(func() { c.Reply() })
	case p.connecting != nil:
		// The pending Connect is answered first, as in bluetoothd.
		p.connecting.done = append(p.connecting.done, func(error) { p.disconnect(func() { c.Reply() }) })
		p.shim.links.CancelConnect(p.addr)
	default:
		c.Reply()
	}
}

// disconnect ends the link, if there is one; done may be nil.
func (p *peer) disconnect(done func()) {
	if !p.connected {
		if done != nil {
			done()
		}
		return
	}
	first := len(p.disconnecting) == 0
	if done == nil {
		done = func() {}
	}
	p.disconnecting = append(p.disconnecting, done)
	if !first {
		return
	}
	if p.downReason == nil {
		p.downReason = &downReason{ble.DisconnectLocal}
	}
	p.removeBattery()
	p.drainPipes()
	p.shim.links.Disconnect(p.addr, func() {})
}

func (s *Shim) linkUp(a ble.Address, mtu int) {
	p := s.peers[a]
	if p == nil || len(p.devices) == 0 {
		s.links.Disconnect(a, func() {}) // removed while connecting
		return
	}
	p.connected, p.mtu, p.downReason = true, mtu, nil
	p.link++
	p.changed("Connected")
}

// reasons are the names and texts of the Disconnected signal (bluetoothd 5.87).
var reasons = map[ble.DisconnectReason][2]string{
	ble.DisconnectUnknown:        {"org.bluez.Reason.Unknown", "Unspecified"},
	ble.DisconnectTimeout:        {"org.bluez.Reason.Timeout", "Connection timeout"},
	ble.DisconnectLocal:          {"org.bluez.Reason.Local", "Connection terminated by local host"},
	ble.DisconnectRemote:         {"org.bluez.Reason.Remote", "Connection terminated by remote user"},
	ble.DisconnectAuthentication: {"org.bluez.Reason.Authentication", "Connection terminated due to authentication failure"},
	ble.DisconnectSuspend:        {"org.bluez.Reason.Suspend", "Connection terminated by local host for suspend"},
}

// linkDown signals the end of a link in bluetoothd 5.87's order: ServicesResolved, Disconnected,
// Connected, then the replies that waited for it.
func (s *Shim) linkDown(a ble.Address, reason ble.DisconnectReason) {
	p := s.peers[a]
	if p == nil || !p.connected {
		return
	}
	if p.downReason != nil {
		reason = p.downReason.reason
		p.downReason = nil
	}
	if p.pairing != nil && p.connecting == nil {
		p.pairFailed(errAuthCanceled)
	}
	wasResolved := p.resolved
	p.resolved, p.mtu = false, 0
	if wasResolved {
		p.changed("ServicesResolved")
	}
	for _, c := range p.chars {
		c.linkDown()
	}
	text := reasons[reason]
	args := func(e *dbusobj.Encoder) { e.String(text[0]); e.String(text[1]) }
	for _, d := range p.devices {
		d.obj.Emit(s.ifaces.bearer, "Disconnected", args) // recorded in this order
		d.obj.Emit(s.ifaces.device, "Disconnected", args)
	}
	p.connected = false
	p.changed("Connected")
	if p.heldPaired {
		p.heldPaired = false
		p.changed("Paired")
	}
	s.conn.Flush()
	p.removeBattery()
	waiting := p.disconnecting
	p.disconnecting = nil
	for _, done := range waiting {
		done()
	}
	for _, d := range p.devices {
		d.touch()
	}
	p.release()
}

// removeByUser is Adapter1.RemoveDevice: a pending Connect or Pair is answered, the link ended, the
// object removed, and everything remembered of the device goes with it.
func (p *peer) removeByUser(done func()) {
	if p.connecting != nil || p.pairing != nil {
		p.shim.links.CancelConnect(p.addr)
	}
	wasConnected := p.connected
	p.disconnect(func() {
		if wasConnected {
			done() // bluetoothd replies before it removes the object of a device that was connected
			p.shim.conn.Flush()
		}
		p.forget()
		if !wasConnected {
			done()
		}
	})
}

func (p *peer) forget() {
	for _, d := range slices.Clone(p.devices) {
		air := d.adapter.cfg.Air
		d.remove()
		air.Forget(p.addr)
	}
	p.shim.links.Forget(p.addr)
	p.shim.store.DeleteDevice(p.addr)
	if p.shim.peers[p.addr] == p {
		p.forgotten()
	}
}
