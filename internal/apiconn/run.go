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
	slowRetry      = time.Minute      // the longest; also for what only the operator can cure
	deepSleepRetry = 15 * time.Second // a device that sleeps is awake for short
	restartRetry   = 5 * time.Second  // after the device took leave
	retryFactor    = 1.8              // as ESPHome's own client grows its pauses
	retryJitter    = 0.2
	// stableAfter is how long a session must last to count as a success.
	stableAfter = 10 * time.Second
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
		p.attempting()
		wasUp, err := p.attempt(ctx)
		if ctx.Err() != nil {
			break
		}
		if wasUp && time.Since(begun) >= stableAfter {
			failures = 0
		}
		p.setState(stateOf(err), err)
		if wasUp {
			p.explain("Lost the proxy", err)
		} else {
			p.explain("Cannot use the proxy", err)
		}
		p.pause(ctx, p.delay(failures, err))
		failures++
	}
	p.setState(StateOffline, nil)
}

// attempting shows that an attempt is under way, unless there is worse to show.
func (p *Proxy) attempting() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == StateOffline {
		p.state = StateConnecting
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
	case apiwire.AuthFailure(err), errors.As(err, &conflict):
		d, limit = slowRetry, slowRetry
	case errors.As(err, &leave):
		d = max(d, restartRetry)
	}
	d = min(d, limit)
	// Many proxies lose the same access point at once: they must not come back as one.
	return time.Duration(float64(d) * (1 - retryJitter*rand.Float64()))
}

func (p *Proxy) pause(ctx context.Context, d time.Duration) {
	select {
	case <-p.kick: // it was meant for the attempt that just failed
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.kick:
	case <-ctx.Done():
	}
}

// attempt makes one session and returns when it has ended.
func (p *Proxy) attempt(ctx context.Context) (wasUp bool, err error) {
	conn, err := p.dial(ctx)
	if err != nil {
		return false, err
	}
	s := newSession(p, conn)
	err = s.run(ctx)
	return s.up, err
}
