package gatt

import (
	"context"
	"errors"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lapse"
)

// parkedPatience is how long an attempt waits for another through the same proxy, while another proxy has none.
const parkedPatience = 2 * time.Second

// silentAfter is how long a proxy that reports its slots may take to report the one of a new attempt, which it does
// before the radio acts (ESPHome native API, message 81), while another proxy is free: it may have lost its power or
// its network.
const silentAfter = 2 * time.Second

// deadAfter is the same where no other proxy is free: the request is taken to be lost, and made again.
const deadAfter = 6 * time.Second

// answer is what Proxy.Connect returned; valid once done is closed.
type answer struct {
	done chan struct{}
	mtu  int
	err  error
}

// attempt dials through c, whose slot h is reserved. ctx bounds the link's life,
// dctx the search.
func (s *session) attempt(ctx, dctx context.Context, dl *dialler, c *candidate, h *hold) (*link, context.Context, error) {
	m, ps := s.m, c.ps
	lctx, cancel := context.WithCancelCause(ctx)
	known := dl.rec.MTU[ps.id]
	l := &link{session: s, ps: ps, hold: h, cancel: cancel, armed: make(map[uint16]standing)}
	l.evidence = dl.evidence(ps)
	l.cached = l.evidence != noEvidence

	// The attempt ends with the link's life or with the search, whichever ends first.
	actx, acancel := context.WithCancelCause(lctx)
	defer acancel(nil)
	defer context.AfterFunc(dctx, func() { acancel(context.Cause(dctx)) })()

	ans, typ := &answer{done: make(chan struct{})}, dl.addressType(c)
	m.mu.Lock()
	s.link, dl.current = l, ps
	ps.links[s.addr] = l
	if ps.gone {
		l.loseLocked(ble.DisconnectUnknown, true, errProxyGone)
	}
	m.goLocked(func(context.Context) {
		defer close(ans.done)
		ans.mtu, ans.err = ps.proxy.Connect(actx, s.addr, typ, l.cached)
	})
	m.mu.Unlock()
	m.log.Debug("dialling", "device", s.addr, "type", typ, "proxy", ps.name, "cached", l.cached, "evidence", l.evidence, "score", c.score)

	m.mu.Lock()
	h.yield = acancel
	h.doubt, _ = patience(c.path.Interval)
	if c.blind {
		h.doubt, dl.wasBlind = 0, true
	}
	m.mu.Unlock()
	begun := time.Now()
	s.awaitAnswer(actx, acancel, dl, c, h, ans)
	if c.blind {
		m.rested(s, ps, begun)
	}
	dl.current = nil
	v, readable := ble.ParseVersion(c.version)
	err := s.settle(actx, l, ans, known, !readable || v.AtLeast(2026, 8))
	if errors.Is(err, errMovedOn) || errors.Is(err, errParked) {
		s.awaitCallOff(dctx, callOffWait) // never two proxies at once
	}
	if err != nil {
		return nil, nil, err
	}
	l.guessed = l.guessed && readable
	m.updateRecord(s.addr, func(r *Record) {
		r.Last = ps.id
		if !l.cached {
			if r.MTU == nil {
				r.MTU = make(map[string]int)
			}
			r.MTU[ps.id] = l.mtu
		}
	})
	return l, lctx, nil
}

// awaitAnswer waits for the answer or the end of actx. It ends actx when the attempt
// takes long and another path is free, sooner if that one hears the device meanwhile, which a proxy in whose reach it
// is would have connected to by then, or if none is free and it is worth beginning anew; a device that the proxy does
// not hear is given less time. The time counts from the end of older attempts through the same proxy; for those it
// waits less, if another proxy has none.
func (s *session) awaitAnswer(actx context.Context, cancel context.CancelCauseFunc, dl *dialler, c *candidate, h *hold, ans *answer) {
	t := lapse.NewClock(min(s.m.cfg.PerPath, parkedPatience))
	defer t.Stop()
	gone := lapse.NewClock(time.Hour)
	defer gone.Stop()
	begun, began := time.Now(), time.Time{} // the latter: on the air
	_, atOnce := c.yields()
	perPath := s.m.cfg.PerPath
	_, unheard := patience(c.path.Interval)
	if c.path.Interval >= slowFrom {
		perPath = max(perPath, unheard) // until its next advertisement no proxy can have an answer
	}
	enough := perPath
	if atOnce {
		enough = min(enough, unheard) // earlier firmware would go on for 10 or 20 s, deaf to everything
	}
	silent := lapse.NewClock(silentAfter)
	defer silent.Stop()
	for turn := false; ; {
		var changed <-chan struct{}
		if !turn {
			var parked bool
			parked, changed = s.m.parked(c.ps, h)
			if !parked {
				turn, changed, began = true, nil, time.Now()
				t.Reset(enough)
				gone.Reset(s.m.onAir(c, h))
			}
		}
		select {
		case <-ans.done:
			return
		case <-actx.Done():
			return
		case <-changed:
		case <-gone.C:
			if !gone.Due() {
				continue
			}
			if c.blind {
				cancel(errBlind)
				return
			}
			if !s.heardSince(begun) {
				cancel(errUnheard)
				return
			}
		case <-silent.C:
			if !silent.Due() || !s.m.silent(c.ps, h) {
				continue
			}
			if v := dl.survey(); v.best() != nil || turn && time.Since(began) >= deadAfter && c.tries+1 < maxTries {
				cancel(errSilent)
				return
			}
			silent.Reset(pollInterval)
		case <-t.C:
			if !t.Due() {
				continue
			}
			v := dl.survey()
			o := v.best()
			switch {
			case turn && time.Since(began) < perPath && (o == nil || o.tries > c.tries || !o.path.LastHeard.After(began)):
				// There is time yet: nobody who could do better is known to hear the device meanwhile.
			case o == nil || o.tries > c.tries:
				// Firmware that ends an attempt at once loses nothing by beginning it anew, once the device has advertised again.
				// What others report soon may be the advertisement for which it was begun.
				if turn && atOnce && !c.blind && c.tries+1 < maxTries && s.heardSince(began.Add(freshFor)) {
					cancel(errNoAnswer)
					return
				}
			case turn:
				cancel(errMovedOn)
				return
			case o.dialling == 0:
				cancel(errParked)
				return
			}
			t.Reset(pollInterval)
		}
	}
}

// onAir notes that the proxy begins to dial with hold h, and says for how long without an answer.
func (m *Manager) onAir(c *candidate, h *hold) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	h.onAir = time.Now()
	m.changedLocked() // whoever is heard may look whether it makes way
	_, gone := patience(c.path.Interval)
	soon, _ := c.yields()
	switch {
	case c.burst:
		return blindBurst
	case c.blind, !soon: // as long as the search
		return time.Hour
	}
	return gone
}

// heardSince reports whether any proxy heard the device after t.
func (s *session) heardSince(t time.Time) bool {
	return slices.ContainsFunc(s.m.cfg.Air.Paths(s.addr), func(p Path) bool { return p.LastHeard.IsZero() || p.LastHeard.After(t) })
}

// silent reports whether a proxy that reports its slots has not done so since h was reserved. The daemon of one that is
// shared may have to wait for its turn first.
func (m *Manager) silent(ps *proxyState, h *hold) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return ps.hosts != HostsShared && ps.slots.Known && ps.slots.HasAllocated && !h.confirmed
}

// parked is proxyState.parked with what is closed when that may have changed.
func (m *Manager) parked(ps *proxyState, h *hold) (bool, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return ps.parked(h), m.changed
}

// settle turns the answer into a link that is up, or an error with everything
// given up. Where there is no answer yet, or one because the attempt was called
// off, the proxy is told to end it.
func (s *session) settle(actx context.Context, l *link, ans *answer, known int, reportsMTU bool) error {
	m, ps := s.m, l.ps
	m.mu.Lock()
	defer m.mu.Unlock()
	answered := false
	select {
	case <-ans.done:
		answered = true
	default:
	}
	if answered {
		l.hold.dialling, l.hold.since = false, time.Now()
		m.changedLocked() // another attempt through the proxy may begin
	}
	switch {
	case answered && ans.err == nil && !l.lost:
		l.up = true
		l.mtu = min(max(ans.mtu, ble.MinMTU), ble.MaxMTU)
		// A cached link reports 23 whatever was negotiated, and up to ESPHome 2026.7 the MTU of the link that had its slot
		// before (esphome-contract.md §11.8): what was negotiated the last time counts.
		if l.cached && (l.mtu == ble.MinMTU || !reportsMTU) {
			l.mtu, l.guessed = min(max(known, ble.MinMTU), ble.MaxMTU), reportsMTU
		}
		delete(ps.failures, s.addr)
		return nil
	case l.proxyGone:
		s.callOffLocked(l, ans)
		return errProxyGone
	case answered && ans.err == nil:
		s.unlinkLocked(l)
		return errLost
	case answered && actx.Err() == nil:
		s.unlinkLocked(l)
		return ans.err
	}
	s.callOffLocked(l, ans)
	return context.Cause(actx)
}

// callOffLocked ends an attempt that nobody waits for any more, in the background. The
// slot stays ours until that is over.
func (s *session) callOffLocked(l *link, ans *answer) {
	m, ps := s.m, l.ps
	gone := l.proxyGone
	l.loseLocked(ble.DisconnectLocal, false, errCanceled)
	if ps.links[s.addr] == l {
		delete(ps.links, s.addr)
	}
	s.link = nil
	over := make(chan struct{})
	s.callOff = over
	m.goLocked(func(context.Context) {
		defer close(over)
		<-ans.done
		if !gone {
			if err := m.disconnectAt(ps, s.addr, disconnectWait); err != nil {
				m.log.Debug("no report of the attempt's end", "device", s.addr, "proxy", ps.name, "error", err)
			}
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.releaseLocked(ps, s.addr, l.hold)
	})
}

// awaitCallOff waits for the last called-off attempt to be over, at most d.
func (s *session) awaitCallOff(ctx context.Context, d time.Duration) {
	if s.callOff == nil {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.callOff:
	case <-t.C:
	case <-ctx.Done():
	}
}
