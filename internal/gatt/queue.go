package gatt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bluez-esphome/internal/ble"
)

// lossWait is how long the report of a link's end may come after an operation failed for it.
const lossWait = 200 * time.Millisecond

// op is one operation on a link. The session's goroutine runs them one at a time, as ATT does: those of one party in
// the order of the calls, those of several in turns, see lanes.
type op struct {
	party  *Owner // nil: the Manager itself
	size   int    // of the value it holds, in bytes
	handle uint16 // of the attribute, 0 if it is about none
	reads  bool   // its result is a value of the attribute
	ours   bool   // nobody asked for it, and nobody waits for it
	again  bool   // it was left to be repeated once the database is known
	// told is the database that the caller knew; nil when it is queued: the one that was told last.
	told   *ble.Database
	secure bool // pair and repeat once if the peripheral wants security
	// configures: it is of the configuration of the characteristic with that value handle.
	configures bool
	pair       bool // CancelConnect calls it off
	ctx        context.Context
	run        func(ctx context.Context, l *link) error
	// start is run without a goroutine that waits; nil: not possible. answer is what came of it if the session's goroutine
	// has to go on from there.
	start  func(p Starter, done func([]byte, error)) (cancel func(), ok bool)
	keep   func([]byte) // takes the value that start brought; under Manager.mu
	answer error
	done   func(error) // nil: nobody wants to know; not with start
}

// enqueue hands o to a's session, or fails it.
func (m *Manager) enqueue(a ble.Address, o *op) {
	if launch := m.enqueued(a, o); launch != nil {
		launch()
	}
}

// enqueued returns what the caller has to do without locks, if anything.
func (m *Manager) enqueued(a ble.Address, o *op) (launch func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.devices[a]
	if d == nil || d.cur == nil || d.cur.phase != phaseLive {
		m.finish(o, ble.ErrNotConnected)
		return nil
	}
	if o.told == nil {
		o.told = d.told
	}
	launch = d.cur.takeOffLocked(o)
	if launch == nil {
		d.cur.enqueueLocked(o)
	}
	return launch
}

func (s *session) enqueueLocked(o *op) {
	if !s.queue.push(o) {
		s.m.finish(o, fmt.Errorf("cannot queue the operation on %s: %w", s.addr, ErrQueueFull))
		return
	}
	s.wakeLocked()
}

func (s *session) wakeLocked() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// finish reports the end of o.
func (m *Manager) finish(o *op, err error) {
	if o.done != nil {
		m.events.post(func() { o.done(err) })
	}
}

// next takes the first operation off the queue; nil if there is none, or one is under way on l without the goroutine.
func (s *session) next(l *link) *op {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.idle = nil
	if s.flight != nil || s.change.pending {
		return nil
	}
	o := s.queue.pop()
	if o == nil {
		s.idle = l
	}
	return o
}

// exec runs o on l and reports its end.
func (s *session) exec(ctx context.Context, l *link, o *op) {
	octx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if o.ctx != nil {
		defer context.AfterFunc(o.ctx, func() { cancel(context.Cause(o.ctx)) })()
	}
	if o.ours {
		s.m.mu.Lock()
		s.oursCancel = cancel
		s.m.mu.Unlock()
	}
	if o.pair {
		s.m.mu.Lock()
		s.pairCancel = cancel
		s.m.mu.Unlock()
	}
	err, refusal := o.answer, s.refusal(l, o)
	o.answer = nil
	switch {
	case refusal != nil:
		err = refusal
	case !sameAttribute(o.told, s.db, o.handle):
		err = errNoAttribute
	case err == nil:
		err = o.run(octx, l)
	}
	if refusal == nil && wantsSecurity(err) && o.handle != 0 {
		s.m.mu.Lock()
		l.guardLocked(o, err)
		s.m.mu.Unlock()
	}
	if o.secure && refusal == nil && wantsSecurity(err) && s.mayRaise(o) && s.raiseSecurity(octx, l, o.party) {
		err = o.run(octx, l)
	}
	if o.pair {
		s.m.mu.Lock()
		s.pairCancel = nil
		s.m.mu.Unlock()
	}
	if s.repeats(o, err) {
		return
	}
	if errors.Is(err, ble.ErrTimeout) && octx.Err() == nil {
		s.stalled()
	}
	if errors.Is(err, ble.ATTInvalidHandle) && !errors.Is(err, errNoAttribute) {
		// The database is not the peripheral's: learn it anew with the next link.
		s.m.updateRecord(s.addr, func(r *Record) { r.Database, r.Complete, r.Hash, r.Stale = nil, false, nil, true })
		if l.cached {
			s.m.mu.Lock()
			s.rediscoverLocked(handleRange{1, lastHandle})
			s.m.mu.Unlock()
		}
	}
	s.m.finish(o, s.opError(ctx, octx, l, err))
}

// repeats leaves o to be done again once the database is known, if what came of it may concern another attribute: the
// peripheral said meanwhile that attributes changed, or says that its client does not know of a change (Bluetooth Core,
// Vol 3 Part G, 2.5.2.1).
func (s *session) repeats(o *op, err error) bool {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	unaware := errors.Is(err, ble.ATTDatabaseOutOfSync) && !o.again
	if unaware {
		s.rediscoverLocked(handleRange{1, lastHandle})
	}
	if !unaware && (err != nil || !o.reads || !s.change.concernsLocked(o.handle)) {
		return false
	}
	o.again = true
	s.againLocked(o)
	return true
}

// stalled: an operation got no answer. Those that waited behind it are not to wait as long again each; bluetoothd 5.87
// even ends the link then, but a proxy on a congested network loses an answer now and then. Commands need none.
func (s *session) stalled() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.failQueuedLocked(ble.ErrTimeout, func(o *op) bool { return o.secure })
}

// failQueuedLocked ends those of the operations that wait.
func (s *session) failQueuedLocked(err error, which func(*op) bool) {
	for _, o := range s.queue.take(which) {
		s.m.finish(o, err)
	}
}

// opError is what the caller is told. A link that the proxy does not know is over.
func (s *session) opError(link, own context.Context, l *link, err error) error {
	var att ble.ATTError
	switch {
	case err == nil, errors.As(err, &att):
		return err
	case link.Err() != nil:
		return ble.ErrNotConnected
	case errors.Is(context.Cause(own), errCanceled):
		return ble.ErrCanceled
	case own.Err() != nil:
		return context.Cause(own)
	case errors.Is(err, ble.ErrNotConnected):
		s.awaitLoss(link, l, err)
		return ble.ErrNotConnected
	}
	return err
}

// awaitLoss: an operation failed for want of a link. The report that says why may be on
// its way; without one the proxy does not know the link.
func (s *session) awaitLoss(lctx context.Context, l *link, why error) {
	t := time.NewTimer(lossWait)
	defer t.Stop()
	select {
	case <-lctx.Done():
		return
	case <-t.C:
	}
	online := l.ps.proxy.Online()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	l.loseLocked(ble.DisconnectUnknown, !online, fmt.Errorf("%s: %w", l.ps.name, why))
}

// Do runs one GATT operation on the link that is up.
func (m *Manager) Do(a ble.Address, operation ble.Operation, done func([]byte, error)) {
	m.do(nil, a, operation, done)
}

// do is Do for a party.
func (m *Manager) do(party *Owner, a ble.Address, operation ble.Operation, done func([]byte, error)) {
	var value []byte
	o := &op{
		party:  party,
		size:   len(operation.Value),
		secure: operation.Kind.Answered(),
		handle: operation.Handle, reads: operation.Kind.Reads(), told: operation.Table,
		run: func(ctx context.Context, l *link) (err error) {
			value, err = l.ps.proxy.Do(ctx, a, operation)
			return err
		},
		done: func(err error) {
			if err != nil {
				value = nil
			}
			done(value, err)
		},
	}
	if operation.Kind.Answered() {
		kind := OperationWrite
		if operation.Kind.Reads() {
			kind = OperationRead
		}
		o.done = m.measured(kind, o.done)
		o.keep = func(v []byte) { value = v }
		o.start = func(p Starter, landed func([]byte, error)) (func(), bool) { return p.Begin(a, operation, landed) }
	}
	m.enqueue(a, o)
}
