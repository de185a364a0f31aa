package apiconn

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"bluez-esphome/internal/apiwire"
)

const (
	firstRetry     = time.Second
	slowRetry      = time.Minute      // the longest pause; also after failures that only the operator can mend
	deepSleepRetry = 15 * time.Second // a device that sleeps is awake for short
	restartRetry   = 5 * time.Second  // after the device took leave
	retryFactor    = 1.8              // as ESPHome's own client grows its pauses
	retryJitter    = 0.2
	// stableAfter is how long a session must last to count as a success.
	stableAfter = 10 * time.Second
	// leftoverTries is how often, within about 12 s, a proxy is tried again soon though another host seems to use it: the
	// links may be those of a run of ours that was killed, and the proxy may be about to end them.
	leftoverTries = 4
)

// run makes sessions until ctx ends or Stop.
func (p *Proxy) run(ctx context.Context) {
	defer close(p.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := make(chan struct{})
	go func() {
		defer close(watch)
		select {
		case <-p.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-watch }()

	failures := 0
	for ctx.Err() == nil {
		begun := time.Now()
		select {
		case <-p.again: // this attempt finds out anyway whether the reason is gone
		default:
		}
		p.attempting()
		wasUp, err := p.attempt(ctx)
		if ctx.Err() != nil {
			break
		}
		if wasUp && time.Since(begun) >= stableAfter {
			failures = 0
		}
		p.setState(stateOf(err), err)
		if errors.Is(err, errKicked) {
			failures = 0
			continue
		}
		if !wasUp {
			p.traffic.failures.Add(1)
		}
		if wasUp {
			p.explain("Lost the proxy", err)
		} else {
			p.explain("Cannot use the proxy", err)
		}
		if refused := new(RefusedError); errors.As(err, &refused) && refused.Final {
			if !p.waitReconsidered(ctx) {
				break
			}
			failures = 0
			continue
		}
		kicked := p.pause(ctx, p.delay(failures, err), begun, hopeless(err))
		failures++
		if kicked {
			failures = 0
		}
	}
	p.setState(StateOffline, nil)
}

// attempting shows that an attempt is under way, unless the state is a fault that lasts.
func (p *Proxy) attempting() {
	p.mu.Lock()
	if p.state == StateOffline {
		p.state = StateConnecting
	}
	p.mu.Unlock()
	p.changed()
}

// hopeless reports whether a sign of life of the device is no reason to try at once: first a key, a password or another
// host has to change.
func hopeless(err error) bool {
	var conflict *ConflictError
	var refused *RefusedError
	return apiwire.AuthFailure(err) || errors.As(err, &conflict) || errors.As(err, &refused)
}

// Reconsider makes a proxy that was refused for good try again: the reason may be gone.
func (p *Proxy) Reconsider() {
	select {
	case p.again <- struct{}{}:
	default:
	}
}

// waitReconsidered reports false once ctx has ended.
func (p *Proxy) waitReconsidered(ctx context.Context) bool {
	select {
	case <-p.again:
		return true
	case <-ctx.Done():
		return false
	}
}

// delay is the pause after the given number of failures before this one.
func (p *Proxy) delay(failures int, err error) time.Duration {
	limit := slowRetry
	if p.Info().DeepSleep {
		limit = deepSleepRetry
	}
	d := time.Duration(float64(firstRetry) * math.Pow(retryFactor, float64(min(failures, 20))))
	var leave *PeerDisconnectError
	var conflict *ConflictError
	switch {
	case errors.As(err, &conflict) && failures < leftoverTries:
	case hopeless(err):
		d, limit = slowRetry, slowRetry
	case errors.As(err, &leave):
		d = max(d, restartRetry)
	}
	d = min(d, limit)
	// Many proxies lose the same access point at once. They must not all try again at the same moment.
	return time.Duration(float64(d) * (1 - retryJitter*rand.Float64()))
}

// pause waits for the next attempt, and reports whether a kick ended it early. begun is when the last one began.
func (p *Proxy) pause(ctx context.Context, d time.Duration, begun time.Time, deafToKicks bool) (kicked bool) {
	select {
	case <-p.kick: // it came during the attempt that just failed
	default:
	}
	p.nextAt(d)
	defer p.nextAt(-1)
	timer := time.NewTimer(d)
	defer timer.Stop()
	kick := p.kick
	if deafToKicks {
		kick = nil
	}
	for {
		select {
		case <-timer.C:
			return kicked
		case <-kick:
			kick, kicked = nil, true
			// Announcements come in bunches, and anybody can send them.
			left := min(d, max(0, time.Until(begun.Add(firstRetry))))
			timer.Reset(left)
			p.nextAt(left)
		case <-p.wake:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// nextAt notes the time until the next attempt; a negative time means that none is planned.
func (p *Proxy) nextAt(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = time.Time{}
	if d >= 0 {
		p.next = time.Now().Add(d)
	}
}

// NextAttempt is when the next attempt to reach the proxy, or to have one back that another host took, begins if nothing
// makes it earlier; zero while the proxy is ours or an attempt is under way, and where one waits for something else than
// time.
func (p *Proxy) NextAttempt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

// attempt makes one session and returns when it has ended.
func (p *Proxy) attempt(ctx context.Context) (wasUp bool, err error) {
	conn, err := p.dial(ctx)
	if err != nil {
		return false, err
	}
	at := conn.RemoteAddr()
	p.at.Store(&at)
	defer p.nextAt(-1) // which a session has while another host has the proxy
	s := newSession(p, conn)
	err = s.open(ctx)
	if err == nil {
		err = s.serve(ctx)
	}
	return s.up, p.fault(err)
}

// damagedWithin: two damaged frames within so short a time are no accident.
const damagedWithin = time.Minute

// fault is why a session ended. A single frame that cannot be decrypted is no sign of a wrong key: it is treated like
// any other broken stream.
func (p *Proxy) fault(err error) error {
	var damaged *apiwire.DecryptError
	if !errors.As(err, &damaged) {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	again := !p.damaged.IsZero() && time.Since(p.damaged) < damagedWithin
	p.damaged = time.Now()
	if again {
		return err
	}
	return &DamagedError{}
}
