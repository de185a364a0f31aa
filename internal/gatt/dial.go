package gatt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/ble"
)

// pollInterval is how often a device that nobody hears is looked for where nobody calls Heard, and
// another path is looked for while an attempt takes long.
const pollInterval = 500 * time.Millisecond

// dialler is one search for a link: Connect's, or one to replace a link.
type dialler struct {
	s        *session
	rec      Record
	fresh    bool // no cached database is to be used
	started  time.Time
	tries    map[string]try
	said     []string           // what each attempt said, in order
	last     ble.ConnectFailure // of the last attempt
	current  *proxyState        // of the attempt in progress
	full     time.Time          // since when it waits for a slot, zero while it tries one
	slotless time.Time          // since when there was no free slot, though one that was said to be free may have been tried
	deadline time.Time
	wasBlind bool // the device was dialled blind
	waiter   *waiter
}

// try is what was tried through one proxy.
type try struct {
	count            int
	passing          bool // what was said last may pass
	again, fullUntil time.Time
	unanswered       time.Time // it must be heard after this to be dialled again
}

// waiter stands in line for a slot on some proxies. Those who came earlier are served
// first. Its fields are under Manager.mu.
type waiter struct{ proxies []string }

// dial brings up a link. ctx bounds the link's life, dctx the search. The proxy last, unless empty, is tried
// after the others. The error is a *ble.ConnectError.
func (s *session) dial(ctx, dctx context.Context, fresh bool, last string) (*link, context.Context, error) {
	dl := &dialler{s: s, rec: s.m.record(s.addr), fresh: fresh, started: time.Now(), tries: make(map[string]try)}
	if last != "" {
		dl.tries[last] = try{count: 1}
	}
	dl.deadline = dl.started.Add(s.m.cfg.Timeout)
	defer dl.leaveLine()
	for {
		v := dl.survey()
		if dctx.Err() != nil {
			return nil, nil, dl.timedOut(&v)
		}
		c := v.best()
		if c == nil {
			c = dl.dialBlind(&v)
		}
		if c != nil {
			h := dl.reserve(c)
			if h == nil {
				continue
			}
			begun := time.Now()
			l, lctx, err := s.attempt(ctx, dctx, dl, c, h)
			s.tried(c, l, begun, err)
			if err == nil {
				return l, lctx, nil
			}
			dl.note(dctx, c.ps, begun, err)
			continue
		}
		if err := dl.giveUp(&v); err != nil {
			return nil, nil, err
		}
		dl.wait(dctx, &v)
	}
}

// reserve claims the slot that the survey found; nil if somebody was faster.
func (dl *dialler) reserve(c *candidate) *hold {
	m := dl.s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	ps := c.ps
	if ps.gone || m.proxies[ps.id] != ps || ps.holds[dl.s.addr] != nil || !ps.joins(dl.s.addr) && ps.free(c.reported)-dl.aheadLocked(ps.id) <= 0 {
		return nil
	}
	m.order++
	h := &hold{dialling: true, blind: c.blind, order: m.order, since: time.Now()}
	ps.holds[dl.s.addr] = h
	dl.leaveLineLocked()
	return h
}

// note keeps what an attempt through ps said.
func (dl *dialler) note(dctx context.Context, ps *proxyState, begun time.Time, err error) {
	m := dl.s.m
	now := time.Now()
	text, level := ps.name+": "+said(err), slog.LevelInfo
	if n := len(dl.said); n > 0 && dl.said[n-1] == text {
		level = slog.LevelDebug
	} else {
		dl.said = append(dl.said, text)
	}
	dl.last = failureOf(err)
	t := dl.tries[ps.id]
	m.mu.Lock()
	// What a daemon shares as one proxy may have free slots, and none where the device is heard.
	noSlot := answeredNoSlot(err) && (!ps.slots.Known || ps.slots.Free == 0 || ps.hosts == HostsShared)
	calledOff := errors.Is(context.Cause(dctx), errCanceled) || errors.Is(context.Cause(dctx), errLocal)
	parked := errors.Is(err, errParked)
	unheard := errors.Is(err, errYielded) || errors.Is(err, errUnheard) || errors.Is(err, errBlind)
	if !noSlot && !calledOff && !parked && !unheard && !errors.Is(err, errProxyGone) {
		ps.failedLocked(dl.s.addr, now)
	}
	m.mu.Unlock()
	if !noSlot {
		dl.slotless = time.Time{}
	}
	switch {
	case noSlot:
		dl.last = ble.ConnectNoSlot
		t.fullUntil = now.Add(retryPause)
	case parked: // it was not even tried
		t.again = now.Add(retryPause)
	case unheard: // it is no fault of the path
		t.again, t.unanswered = now.Add(retryPause), begun
	default:
		t.count++
		t.again, t.passing = now.Add(time.Duration(t.count)*retryPause), passes(err)
	}
	dl.tries[ps.id] = t
	m.log.Log(dctx, level, "attempt to connect failed", "device", dl.s.addr, "proxy", ps.name, "error", said(err))
}

// answeredNoSlot: ESPHome answers a request without a free slot with error 0, as some other failures.
func answeredNoSlot(err error) bool {
	var res ConnectResultError
	return errors.As(err, &res) && res.ConnectCode() == codeNone
}

// giveUp returns an error if waiting cannot help, or waited long enough.
func (dl *dialler) giveUp(v *survey) error {
	switch {
	case v.any(ready), v.any(busy), v.any(paused), v.any(quiet) && !v.any(spent) && !v.any(full):
		return nil
	case v.any(full):
		return dl.noSlot(v)
	case len(v.candidates) > 0: // all spent
		return dl.failure(dl.last, v)
	case len(v.offline) > 0:
		return nil
	case len(v.passive)+len(v.denied)+len(v.foreign) > 0:
		if v.unheard && time.Since(dl.started) < freshFor { // one that can may hear it a moment later than those
			return nil
		}
		f := ble.ConnectBlocked
		if len(v.foreign) > 0 && len(v.passive)+len(v.denied) == 0 {
			f = ble.ConnectRefused
		}
		return dl.failure(f, v)
	}
	return nil
}

// noSlot waits for a slot as long as is allowed.
func (dl *dialler) noSlot(v *survey) error {
	m := dl.s.m
	m.mu.Lock()
	patient := dl.s.patient
	m.mu.Unlock()
	wait := false
	for _, c := range v.candidates {
		if c.state == full {
			policy := m.cfg.OnNoSlot(c.ps.id)
			wait = wait || policy == NoSlotWaitAll || policy == NoSlotWait && patient
		}
	}
	if dl.full.IsZero() {
		dl.full = time.Now()
	}
	if dl.slotless.IsZero() {
		dl.slotless = dl.full
	}
	if wait && time.Since(dl.slotless) < dl.s.m.cfg.SlotWait {
		return nil
	}
	return dl.failure(ble.ConnectNoSlot, v)
}

// timedOut is the error when the search took too long.
func (dl *dialler) timedOut(v *survey) error {
	switch {
	case v.any(full) && len(dl.said) == 0, !dl.slotless.IsZero() && dl.last == ble.ConnectNoSlot:
		return dl.failure(ble.ConnectNoSlot, v)
	case len(dl.said) == 0 && len(v.candidates) == 0 && len(v.offline) > 0:
		return dl.failure(ble.ConnectRefused, v)
	}
	return dl.failure(ble.ConnectTimeout, v)
}

func (dl *dialler) failure(f ble.ConnectFailure, v *survey) error {
	parts := slices.Clone(dl.said)
	if d := v.describe(); d != "" {
		parts = append(parts, d)
	}
	if f == ble.ConnectNoSlot {
		parts = append([]string{"no free connection slot"}, parts...)
	}
	if len(parts) == 0 || f == ble.ConnectTimeout && !v.heard {
		parts = append(parts, fmt.Sprintf("no proxy heard %s within %v", dl.s.addr, time.Since(dl.started).Round(time.Second)))
	}
	return &ble.ConnectError{Failure: f, Detail: strings.Join(parts, "; ")}
}

// wait returns when the survey may look better.
func (dl *dialler) wait(dctx context.Context, v *survey) {
	if v.any(full) {
		dl.joinLine(v)
	}
	d := pollInterval
	for _, c := range v.candidates {
		if left := time.Until(c.due); c.state == quiet && left > 0 {
			d = min(d, left)
		}
	}
	if !dl.full.IsZero() {
		if left := dl.s.m.cfg.SlotWait - time.Since(dl.slotless); left > 0 {
			d = min(d, left)
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	dl.s.m.waiting.Add(1)
	defer dl.s.m.waiting.Add(-1)
	select {
	case <-v.changed:
	case <-dl.s.heard:
	case <-t.C:
	case <-dctx.Done():
	}
}

// joinLine stands in line for the full proxies.
func (dl *dialler) joinLine(v *survey) {
	m := dl.s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if dl.waiter == nil {
		dl.waiter = &waiter{}
		m.waiters = append(m.waiters, dl.waiter)
	}
	dl.waiter.proxies = dl.waiter.proxies[:0]
	for _, c := range v.candidates {
		if c.state == full {
			dl.waiter.proxies = append(dl.waiter.proxies, c.ps.id)
		}
	}
}

// aheadLocked is the number of those who wait for the same proxy and came earlier.
func (dl *dialler) aheadLocked(proxy string) int {
	n := 0
	for _, w := range dl.s.m.waiters {
		if w == dl.waiter {
			break
		}
		if slices.Contains(w.proxies, proxy) {
			n++
		}
	}
	return n
}

func (dl *dialler) leaveLine() {
	dl.s.m.mu.Lock()
	defer dl.s.m.mu.Unlock()
	dl.leaveLineLocked()
}

// leaveLineLocked ends the wait for a slot, whether one was had or not.
func (dl *dialler) leaveLineLocked() {
	m := dl.s.m
	if !dl.full.IsZero() {
		dl.s.toldLocked().SlotWait += time.Since(dl.full)
	}
	dl.full = time.Time{}
	if i := slices.Index(m.waiters, dl.waiter); dl.waiter != nil && i >= 0 {
		m.waiters = slices.Delete(m.waiters, i, i+1)
		m.changedLocked()
	}
	dl.waiter = nil
}
