package gatt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lapse"
)

type phase uint8

const (
	phaseDialling phase = iota // Connect is pending
	phaseLive                  // LinkUp was posted
	phaseOver                  // it accepts nothing any more
)

// session is one device's way from Connect to the end of the link. One goroutine
// runs it; fields marked with * belong to that goroutine, the others are under Manager.mu.
type session struct {
	m      *Manager
	addr   ble.Address // immutable, as are typ, via and dev
	typ    ble.AddressType
	via    string
	dev    *device
	cancel context.CancelCauseFunc // ends it; a cause of errCanceled or errLocal
	heard  chan struct{}           // holds one: the device was heard
	wake   chan struct{}           // holds one: queue or changed has something

	phase   phase
	history *Attempt
	link    *link // the present link or attempt
	linkWaiters
	operating
	change serviceChange

	callOff <-chan struct{} // * closed when the last called-off attempt is over
	doubt   *ble.Database   // * a database that looked cut short
	db      *ble.Database   // * the database in use
}

// linkWaiters are those who wait for a session's link to come up or to end. It is under Manager.mu.
type linkWaiters struct {
	connectDone []func(error)
	patient     bool // somebody who waits for the link would wait for a slot
	downDone    []func()
}

// joinLocked adds somebody who waits for the link to come up.
func (w *linkWaiters) joinLocked(done func(error), patient bool) {
	w.connectDone = append(w.connectDone, done)
	w.patient = w.patient || patient
}

// connectedLocked tells those who wait for the link what became of it.
func (w *linkWaiters) connectedLocked(m *Manager, err error) {
	for _, done := range w.connectDone {
		m.events.post(func() { done(err) })
	}
	w.connectDone = nil
}

// downLocked tells those who wait for the end of the link that it has ended.
func (w *linkWaiters) downLocked(m *Manager) {
	for _, done := range w.downDone {
		m.events.post(done)
	}
	w.downDone = nil
}

// operating is a session's operations: those that wait, and those that run. It is under Manager.mu.
type operating struct {
	queue      lanes
	idle       *link   // what the goroutine waits on for an operation, nil if it does not
	flight     *flight // an operation that runs without the goroutine
	pairCancel context.CancelCauseFunc
	oursCancel context.CancelCauseFunc // of the last operation that nobody waits for
	serving    bool                    // operations are run
	draining   bool                    // the link ends when what was accepted is done
	drainTimer *time.Timer             // the link ends then in any case
}

// link is one physical link, or the attempt at one, through one proxy. Its
// fields are under Manager.mu except for armed.
type link struct {
	session        *session
	ps             *proxyState
	hold           *hold
	cancel         context.CancelCauseFunc // of the context that ends with the link
	cached         bool                    // the proxy was told not to discover
	evidence       evidence                // why
	number         uint64                  // counts the links of the Manager
	db             *ble.Database           // that was learned on it, nil as long as it is not
	up             bool                    // Proxy.Connect returned nil
	seenUp         bool                    // message 69 said connected
	mtu            int
	guessed        bool   // mtu is that of an earlier link, and the proxy can tell
	serviceChanged uint16 // value handle that we subscribed ourselves
	ending
	security
	early []*early            // subscriptions that are being made
	armed map[uint16]standing // by value handle; session's goroutine only
}

// ending is how a link ended.
type ending struct {
	lost      bool  // it has
	why       error // it is lost
	proxyGone bool  // it was lost with its proxy
	reason    ble.DisconnectReason
}

// security is what is known of a link's encryption.
type security struct {
	secured bool             // paired or encrypted on this link
	paired  map[*Owner]bool  // who asked for that
	guarded map[uint32]error // what the peripheral answered, by op.guardKey, while the link was not encrypted
	pairing bool             // a request of ours is under way
}

// loseLocked notes that l is over.
func (l *link) loseLocked(reason ble.DisconnectReason, proxyGone bool, why error) {
	if l.lost {
		return
	}
	l.lost, l.reason, l.proxyGone = true, reason, proxyGone
	if proxyGone {
		why = fmt.Errorf("%w: %w", errProxyGone, why)
	}
	l.why = why
	l.cancel(why)
}

// run is the session's goroutine. before is closed when the device's previous session
// is over.
func (s *session) run(ctx context.Context, before <-chan struct{}) {
	l, lctx, err := s.firstLink(ctx, before)
	if err != nil {
		if !errors.Is(err, ble.ErrCanceled) {
			s.m.log.Info("no connection", "device", s.addr, "error", err)
		}
		s.m.mu.Lock()
		s.failedLocked(err)
		if s.phase == phaseDialling {
			s.failConnectLocked(err)
		}
		s.m.mu.Unlock()
		if s.callOff != nil {
			<-s.callOff
		}
		return
	}
	if !s.goLive(l) {
		s.m.mu.Lock()
		s.failedLocked(ble.ErrCanceled)
		s.m.mu.Unlock()
		s.drop(l)
		return
	}
	s.m.log.Info("connected", "link", l.number, "device", s.addr, "proxy", l.ps.name, "mtu", l.mtu, "cached", l.cached)
	reason := s.live(ctx, lctx, l)
	s.over(reason)
}

// firstLink dials for a pending Connect.
func (s *session) firstLink(ctx context.Context, before <-chan struct{}) (*link, context.Context, error) {
	dctx, cancel := lapse.WithTimeoutCause(ctx, s.m.cfg.Timeout, errTooLong)
	defer cancel()
	if before != nil {
		select {
		case <-before:
		case <-dctx.Done():
			<-before // bounded; two sessions of one address never overlap
		}
	}
	l, lctx, err := s.dial(ctx, dctx, false, "")
	if err != nil && ctx.Err() != nil {
		err = ble.ErrCanceled
	}
	return l, lctx, err
}

// goLive reports the link, unless Connect was called off meanwhile.
func (s *session) goLive(l *link) bool {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.phase != phaseDialling {
		return false
	}
	s.phase = phaseLive
	s.succeededLocked(l)
	mtu := l.mtu
	s.m.events.post(func() { s.m.cfg.Events.LinkUp(s.addr, mtu) })
	s.connectedLocked(s.m, nil)
	return true
}

// live makes the link usable and serves it to its end. It returns why it ended.
func (s *session) live(ctx, lctx context.Context, l *link) ble.DisconnectReason {
	number, proxy, up := l.number, l.ps.name, time.Now()
	l, lctx, db, err := s.resolve(ctx, lctx, l, false)
	if err == nil {
		s.askMTU(lctx, l)
		s.m.mu.Lock()
		mtu := l.mtu
		s.m.mu.Unlock()
		s.tell(db, func() { s.m.cfg.Events.Resolved(s.addr, db, mtu) })
		err = s.serve(ctx, lctx, l, db)
	}
	ended := s.heardSince(up.Add(momentsAgo)) // if so, the link may have been over for as long as its proxy was silent
	s.m.mu.Lock()
	s.phase = phaseOver
	s.change.stopLocked()
	if s.drainTimer != nil {
		s.drainTimer.Stop()
	}
	s.failQueuedLocked(ble.ErrNotConnected, func(*op) bool { return true })
	l = s.link
	reason := ble.DisconnectUnknown
	switch {
	case ctx.Err() != nil, s.draining:
		reason = ble.DisconnectLocal
	case l != nil && l.lost:
		reason = l.reason
	case l != nil:
		reason = ble.DisconnectLocal // we end it: it is of no use
	}
	if l != nil {
		proxy = l.ps.name
	}
	called := errors.Is(err, context.Canceled) // what was under way knows no more
	switch {
	case called && ctx.Err() != nil:
		err = context.Cause(ctx)
	case called && l != nil && l.lost:
		err = l.why
	}
	why := endText(err)
	s.endedLocked(l, why, reason, reason == ble.DisconnectLocal && (s.draining || ctx.Err() != nil))
	s.dev.lost = time.Time{}
	if l != nil && l.lost && l.proxyGone && !ended && ctx.Err() == nil {
		s.dev.lost = time.Now()
	}
	s.m.mu.Unlock()
	s.m.log.Info("disconnected", "link", number, "device", s.addr, "proxy", proxy, "after", time.Since(up).Round(time.Millisecond),
		"why", why, "reason", reasonText(reason))
	if l != nil {
		s.drop(l)
	}
	return reason
}

// serve runs operations until the link ends; it returns why.
func (s *session) serve(ctx, lctx context.Context, l *link, db *ble.Database) error {
	defer s.ground()
	s.m.mu.Lock()
	s.serving = s.phase == phaseLive
	s.m.mu.Unlock()
	for {
		if lctx.Err() != nil {
			return context.Cause(lctx)
		}
		if s.takeChange() {
			var err error
			l, lctx, db, err = s.rediscover(ctx, lctx, l, db)
			if err != nil {
				return err
			}
			continue
		}
		if o := s.next(l); o != nil {
			s.exec(lctx, l, o)
			continue
		}
		if s.drained() {
			s.flush(lctx, l)
			return errLocal
		}
		select {
		case <-s.wake:
		case <-lctx.Done():
		}
	}
}

// drop ends l at the proxy unless it is lost, and gives up its slot.
func (s *session) drop(l *link) { s.dropWithin(l, disconnectWait) }

// dropWithin is drop that waits at most d for the proxy's report.
func (s *session) dropWithin(l *link, d time.Duration) {
	m := s.m
	m.mu.Lock()
	lost := l.lost
	m.mu.Unlock()
	if !lost {
		if err := m.disconnectAt(l.ps, s.addr, d); err != nil {
			m.log.Debug("no report of the disconnect", "device", s.addr, "proxy", l.ps.name, "error", err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.unlinkLocked(l)
}

// unlinkLocked forgets l.
func (s *session) unlinkLocked(l *link) {
	l.loseLocked(ble.DisconnectLocal, false, errLocal)
	if l.ps.links[s.addr] == l {
		delete(l.ps.links, s.addr)
		s.m.releaseLocked(l.ps, s.addr, l.hold)
	}
	if s.link == l {
		s.link = nil
	}
}

// disconnectAt has a proxy end its link or attempt, and waits for that at most d.
func (m *Manager) disconnectAt(ps *proxyState, a ble.Address, d time.Duration) error {
	ctx, cancel := m.derive()
	defer cancel(nil)
	ctx, end := context.WithTimeout(ctx, d)
	defer end()
	return ps.proxy.Disconnect(ctx, a)
}

// over reports the end of the link.
func (s *session) over(reason ble.DisconnectReason) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.dev.cur == s {
		s.dev.cur = nil
	}
	m.events.post(func() { m.cfg.Events.LinkDown(s.addr, reason) })
	s.downLocked(m)
}

// endText says why a link ended.
func endText(err error) string {
	if err == nil || errors.Is(err, errLocal) {
		return errLocal.Error()
	}
	return said(err)
}

func reasonText(r ble.DisconnectReason) string {
	names := []string{"unknown", "timeout", "local", "remote", "authentication", "suspend"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprint(uint8(r))
}
