package gatt

import (
	"slices"

	"bluez-esphome/internal/ble"
)

// cancelLocked answers the pending calls of Connect.
func (u *use) cancelLocked(m *Manager) {
	for _, p := range u.pending {
		p.answered = true
		m.events.post(func() { p.done(ble.ErrCanceled) })
	}
	u.pending = nil
}

// Connect implements links.Links. A link that another owner holds is shared, or, where they are exclusive, refused.
func (o *Owner) Connect(a ble.Address, t ble.AddressType, via string, done func(error)) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.closed {
		s.m.events.post(func() { done(ble.ErrCanceled) })
		return
	}
	d := s.deviceLocked(a)
	u := d.uses[o]
	if u == nil && s.exclusive && len(d.uses) > 0 {
		s.m.events.post(func() {
			done(&ble.ConnectError{Failure: ble.ConnectRefused, Detail: "another host that shares the proxies uses the device"})
		})
		return
	}
	p := &pendingConnect{done: done}
	if u == nil {
		u = &use{}
		d.uses[o] = u
		s.changedLocked(a, d) // what it subscribed is armed with the link
	}
	u.pending = append(u.pending, p)
	s.m.connect(o.cfg.Name, a, t, via, !o.cfg.Guest, func(err error) { o.connected(a, d, u, p, err) })
}

// connected takes the Manager's answer to a call of Connect.
func (o *Owner) connected(a ble.Address, d *ownedDevice, u *use, p *pendingConnect, err error) {
	s := o.s
	s.mu.Lock()
	if p.answered { // called off meanwhile
		s.mu.Unlock()
		return
	}
	p.answered = true
	u.pending = slices.DeleteFunc(u.pending, func(q *pendingConnect) bool { return q == p })
	join := err == nil && !u.told && d.up
	if join {
		u.told = true
	}
	mtu, db := d.mtu, d.db
	keeps := join && db != nil && d.subscribedLocked(o)
	if !u.told && len(u.pending) == 0 && d.uses[o] == u {
		delete(d.uses, o)
		s.changedLocked(a, d)
	}
	s.mu.Unlock()
	if join {
		o.cfg.Events.LinkUp(a, mtu)
	}
	p.done(err)
	switch {
	case keeps: // what it subscribed comes first
		s.m.enqueue(a, &op{run: nothing, done: func(err error) { o.rejoined(a, d, u, err) }})
	case join && db != nil:
		o.cfg.Events.Resolved(a, db, mtu)
	}
}

// rejoined tells an owner that joined the link of another that what it subscribed is armed.
func (o *Owner) rejoined(a ble.Address, d *ownedDevice, u *use, err error) {
	o.s.mu.Lock()
	mtu, db := d.mtu, d.db
	tell := err == nil && d.uses[o] == u && u.told && db != nil
	o.s.mu.Unlock()
	if tell {
		o.cfg.Events.Resolved(a, db, mtu)
	}
}

// CancelConnect implements links.Links.
func (o *Owner) CancelConnect(a ble.Address) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[a]
	if d == nil || d.uses[o] == nil {
		return
	}
	u := d.uses[o]
	switch {
	case len(d.uses) == 1:
		s.m.CancelConnect(a)
	case !u.told:
		u.cancelLocked(s.m)
		delete(d.uses, o)
		s.changedLocked(a, d)
	case u.pairing > 0:
		s.m.cancelPair(a)
	}
}

// Disconnect implements links.Links.
func (o *Owner) Disconnect(a ble.Address, done func()) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[a]
	if d == nil || d.uses[o] == nil {
		s.m.events.post(done)
		return
	}
	u := d.uses[o]
	if len(d.uses) == 1 { // LinkDown, and the answer to Connect, come from the Manager
		s.m.Disconnect(a, done)
		return
	}
	u.cancelLocked(s.m)
	delete(d.uses, o)
	if !o.cfg.KeepSubscriptions {
		d.forgetSubsLocked(o)
	}
	s.changedLocked(a, d)
	told := u.told
	s.m.events.post(func() {
		if told {
			o.cfg.Events.LinkDown(a, ble.DisconnectLocal)
		}
		done()
	})
}
