package gatt

import (
	"time"

	"bluez-esphome/internal/ble"
)

// An ESP neither scans nor makes another connection while it dials, and dials for 20 s. So a device that is not there
// would cost all others theirs: only who is heard is dialled, the others are waited for.
//
//	           heard just now                       link
//	waiting ───────────────────▶ dialling ───────────────────▶ up
//	   │ ▲                         │   │ nobody answers, and somebody
//	   │ └─────────────────────────┘   │ else who is heard wants the proxy
//	   │        silent for long   ◀────┘
//	   └──────▶ dialling blind: late, one device at a time, seldom, called off for anybody who is heard
const (
	// freshFor is for how long after an advertisement a device is taken to be there.
	freshFor = 3 * time.Second
	// slowFrom is the advertising interval from which a device is expected by it. expectAhead is how long before its next
	// advertisement it is dialled, and how long after, and maxMissed how many of them may be missed.
	slowFrom    = 2 * time.Second
	expectAhead = 1500 * time.Millisecond
	maxMissed   = 3
	// blindBurst is how long a device is dialled blind while somebody listens to advertisements, which are lost meanwhile,
	// and blindRest how many times as long as it took the proxy is then not dialled through blind. So advertisements of
	// the others lose 5 %.
	blindBurst = 500 * time.Millisecond
	blindRest  = 19
	// blindPause is how long a device that was dialled blind in vain, and was not heard since, is not dialled so again.
	blindPause = 5 * time.Minute
	// Bounds of how long an attempt may be without an answer before it yields to others, and before it ends.
	minDoubt, maxDoubt, usualDoubt       = 2 * time.Second, 5 * time.Second, 3 * time.Second
	minPatience, maxPatience, usualQuiet = 3 * time.Second, 15 * time.Second, 11 * time.Second
	// doubtIntervals and silentIntervals are the same in advertising intervals of the device.
	doubtIntervals, silentIntervals = 10, 20
)

// Firmware ends an attempt when it is told to from yieldsSoon on within 10 s, from yieldsAtOnce on within 15 ms.
// Earlier one goes on for 20 s, deaf to everything (measured on the firmware's own code).
var (
	yieldsSoon   = ble.Version{Year: 2026, Month: 8}
	yieldsAtOnce = ble.Version{Year: 2026, Month: 10}
)

// yields reports whether firmware of that version ends an attempt when it is told to.
func yields(version string) (soon, atOnce bool) {
	v, known := ble.ParseVersion(version)
	return known && v.Compare(yieldsSoon) >= 0, known && v.Compare(yieldsAtOnce) >= 0
}

// yields reports whether the proxy of c ends an attempt when it is told to, and whether it is ours to say so.
func (c *candidate) yields() (soon, atOnce bool) {
	if c.shared {
		return false, false
	}
	return yields(c.version)
}

// expect says whether a device may be dialled through a proxy that heard it, or when that may be the case without
// another advertisement, zero for never.
func expect(p Path, now, deadline time.Time) (ready bool, at time.Time) {
	if p.LastHeard.IsZero() {
		return true, time.Time{}
	}
	age := now.Sub(p.LastHeard)
	if p.Interval < slowFrom {
		return age <= freshFor, time.Time{}
	}
	missed := max(0, (age-expectAhead)/p.Interval)
	if age < expectAhead {
		missed = 0
	}
	if missed > maxMissed {
		return false, time.Time{}
	}
	next := p.LastHeard.Add((missed + 1) * p.Interval)
	from := next.Add(-expectAhead)
	switch {
	case !now.Before(from), missed > 0 && age <= missed*p.Interval+expectAhead:
		return true, time.Time{}
	case age <= freshFor && !next.After(deadline): // the interval may be shorter: some were not heard
		return true, time.Time{}
	}
	return false, from
}

// patience is how long a device may take to answer an attempt before it is taken to be gone, and before others go
// first.
func patience(interval time.Duration) (doubt, gone time.Duration) {
	switch {
	case interval <= 0:
		return usualDoubt, usualQuiet
	case interval >= slowFrom:
		return min(interval+expectAhead, maxPatience), min(interval+2*expectAhead, maxPatience)
	}
	return min(max(doubtIntervals*interval, minDoubt), maxDoubt), min(max(silentIntervals*interval, minPatience), maxPatience)
}

// dialBlind chooses a path to a device that is not heard, nil if it is not to be dialled blind now.
func (dl *dialler) dialBlind(v *survey) *candidate {
	m, now := dl.s.m, time.Now()
	if dl.wasBlind || now.Sub(dl.started) < m.cfg.Timeout/2 {
		return nil
	}
	listening := m.cfg.Listening()
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Before(dl.s.dev.blindAgain) || m.dialsBlindLocked() {
		return nil
	}
	paid := listening || m.othersDialLocked(dl.s)
	for _, c := range v.candidates {
		_, atOnce := c.yields()
		switch {
		case c.state != quiet, c.slots <= 0, now.Before(c.ps.blindAgain), !atOnce && paid:
			continue
		}
		c.blind, c.burst = true, listening
		return c
	}
	return nil
}

// dialsBlindLocked reports whether a device is dialled blind.
func (m *Manager) dialsBlindLocked() bool {
	for _, ps := range m.proxies {
		for _, h := range ps.holds {
			if h.blind && h.dialling {
				return true
			}
		}
	}
	return false
}

// othersDialLocked reports whether another device is wanted.
func (m *Manager) othersDialLocked(s *session) bool {
	for _, d := range m.devices {
		if d.cur != nil && d.cur != s && d.cur.phase == phaseDialling {
			return true
		}
	}
	return false
}

// makeWayLocked calls off attempts through ps that will most probably come to nothing, for a device that is there:
// heard says when it was heard last.
func (m *Manager) makeWayLocked(c *candidate, a ble.Address, now time.Time) {
	ps, heard := c.ps, c.path.LastHeard
	if soon, _ := c.yields(); !soon {
		return
	}
	for b, h := range ps.holds {
		if b == a || !h.dialling || h.yield == nil || h.onAir.IsZero() || now.Sub(h.onAir) < h.doubt {
			continue
		}
		if heard.IsZero() || h.onAir.Sub(heard) <= freshFor { // it was there before the proxy was deaf to it
			h.yield(errYielded)
			h.yield = nil
		}
	}
}

// rested notes that a device was dialled blind through ps since then.
func (m *Manager) rested(s *session, ps *proxyState, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	ps.blindAgain = now.Add(min(blindRest*now.Sub(since), blindPause))
	s.dev.blindAgain = now.Add(blindPause)
}
