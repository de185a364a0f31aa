package gatt

import (
	"errors"

	"bluez-esphome/internal/ble"
)

// flight is an operation that was begun without the session's goroutine, which waits meanwhile.
type flight struct {
	o      *op
	l      *link
	cancel func() // nil as long as it is not known
}

// takeOffLocked begins o without the session's goroutine, if that is waiting for work and the proxy can. If so, launch
// must be called, without locks.
func (s *session) takeOffLocked(o *op) (launch func()) {
	l := s.idle
	if l == nil || l.lost || !sameAttribute(o.told, l.db, o.handle) || o.start == nil || !s.queue.empty() || s.change.pending || l.guardsLocked(o) {
		return nil
	}
	proxy, ok := l.ps.proxy.(Starter)
	if !ok {
		return nil
	}
	f := &flight{o: o, l: l}
	s.queue.serve(o.party)
	s.idle, s.flight = nil, f
	return func() {
		cancel, ok := o.start(proxy, func(value []byte, err error) { s.land(f, value, err) })
		s.m.mu.Lock()
		flies := s.flight == f
		switch {
		case flies && ok:
			f.cancel = cancel
		case flies:
			s.flight = nil
			s.againLocked(o)
		}
		s.m.mu.Unlock()
		if ok && !flies {
			cancel() // the link ended meanwhile; or it has landed, and this does nothing
		}
	}
}

// againLocked leaves o to the session's goroutine, before what came later.
func (s *session) againLocked(o *op) {
	s.queue.head = o // nothing else is under way
	s.wakeLocked()
}

// land takes the answer. What needs more than being passed on is left to the session's goroutine.
func (s *session) land(f *flight, value []byte, err error) {
	m := s.m
	m.mu.Lock()
	if s.flight != f {
		m.mu.Unlock()
		return // ground was first
	}
	s.flight = nil
	f.o.keep(value)
	var att ble.ATTError
	again := err == nil && f.o.reads && s.change.concernsLocked(f.o.handle)
	if again || err != nil && (!errors.As(err, &att) || wantsSecurity(err) || errors.Is(err, ble.ATTInvalidHandle) || errors.Is(err, ble.ATTDatabaseOutOfSync)) {
		f.o.answer = err
		s.againLocked(f.o)
		m.mu.Unlock()
		return
	}
	if !s.queue.empty() || s.change.pending || s.draining {
		s.wakeLocked()
	} else {
		s.idle = f.l // its goroutine still waits
	}
	done := func() { f.o.done(err) }
	mine := m.events.claim(done)
	m.mu.Unlock()
	if mine {
		m.events.runClaimed(done)
	}
}

// ground ends what is under way when the session's goroutine stops to serve the link.
func (s *session) ground() {
	s.m.mu.Lock()
	f := s.flight
	s.flight, s.idle, s.serving = nil, nil, false
	var cancel func()
	if f != nil {
		s.m.finish(f.o, ble.ErrNotConnected)
		cancel = f.cancel
	}
	s.m.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
