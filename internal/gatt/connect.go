package gatt

import (
	"context"

	"bluez-esphome/internal/ble"
)

// Connect brings up the link to a, through the proxy via only unless that is empty.
// done(nil) follows LinkUp and precedes Resolved; a failure is a
// *ble.ConnectError, or ble.ErrCanceled.
func (m *Manager) Connect(a ble.Address, t ble.AddressType, via string, done func(error)) {
	m.connect("", a, t, via, true, done)
}

// connect is Connect for somebody with a name, for the history. Who is patient waits for a slot where none is free and
// the configuration says nothing else.
func (m *Manager) connect(who string, a ble.Address, t ble.AddressType, via string, patient bool, done func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		m.events.post(func() { done(ble.ErrCanceled) })
		return
	}
	d := m.deviceLocked(a)
	if s := d.cur; s != nil && s.phase != phaseOver {
		s.toldLocked().askedBy(who)
	}
	if s := d.cur; s != nil && s.phase == phaseLive {
		m.events.post(func() { done(nil) })
		return
	} else if s != nil && s.phase == phaseDialling {
		s.joinLocked(done, patient)
		return
	}
	done = m.measured(OperationConnect, done)
	ctx, cancel := m.derive()
	s := &session{
		m: m, addr: a, typ: t, via: via, dev: d, cancel: cancel,
		heard: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	s.joinLocked(done, patient)
	d.cur = s
	m.recordLocked(s)
	s.toldLocked().askedBy(who)
	before := d.stopping
	over := make(chan struct{})
	d.stopping = over
	m.spawnLocked(func(context.Context) {
		defer cancel(nil)
		s.run(ctx, before)
		close(over)
		m.mu.Lock()
		defer m.mu.Unlock()
		if d.stopping == over {
			d.stopping = nil
		}
		m.tidyLocked(a)
	})
}

// CancelConnect calls off a pending Connect or Pair, which fails with ble.ErrCanceled.
func (m *Manager) CancelConnect(a ble.Address) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.devices[a]
	if d == nil || d.cur == nil {
		return
	}
	s := d.cur
	if s.phase == phaseDialling {
		s.endLocked(errCanceled)
		return
	}
	s.cancelPairLocked()
}

// cancelPair calls off the pending Pair only.
func (m *Manager) cancelPair(a ble.Address) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.devices[a]; d != nil && d.cur != nil && d.cur.phase != phaseDialling {
		d.cur.cancelPairLocked()
	}
}

func (s *session) cancelPairLocked() {
	if s.pairCancel != nil {
		s.pairCancel(errCanceled)
	}
	s.failQueuedLocked(ble.ErrCanceled, func(o *op) bool { return o.pair })
}

// Disconnect ends the link to a, or the attempt at one; done follows LinkDown.
func (m *Manager) Disconnect(a ble.Address, done func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.devices[a]
	if d == nil || d.cur == nil {
		m.events.post(done)
		return
	}
	s := d.cur
	if s.phase == phaseDialling {
		s.endLocked(errCanceled)
		m.events.post(done)
		return
	}
	s.endLocked(errLocal)
	s.downDone = append(s.downDone, done)
}

// endLocked ends s. A pending Connect fails at once and what is under way is called off in the
// background; a link that is up is taken down by the session's goroutine, after what was accepted before.
func (s *session) endLocked(cause error) {
	if cause == errLocal && s.drainLocked() {
		return
	}
	if s.draining {
		return // it ends as it is
	}
	s.cancel(cause)
	if s.phase == phaseDialling {
		s.failConnectLocked(ble.ErrCanceled)
	}
	s.phase = phaseOver // fails what is asked for from now on
}

// failConnectLocked ends the pending Connect.
func (s *session) failConnectLocked(err error) {
	s.phase = phaseOver
	if s.dev.cur == s {
		s.dev.cur = nil
	}
	s.connectedLocked(s.m, err)
}
