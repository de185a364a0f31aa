package apiconn

import (
	"context"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lapse"
)

const (
	// A proxy that reports the state of its scanner does so at once to a new subscriber. If no report comes, another
	// client has the subscription, or the request got lost.
	firstProof = 10 * time.Second
	nextProof  = 20 * time.Second
	laterProof = 60 * time.Second
)

var errDisplaced = &DisplacedError{why: "the proxy does not confirm the subscription: another API client (Home Assistant?) has it; remove the proxy there, or share it from here"}

// watch does what depends on time: it pings after silence, ends a dead connection, asks for the proof of the
// subscription, and takes leave when ctx ends.
func (s *session) watch(ctx context.Context) {
	cfg := &s.p.cfg
	timer := time.NewTimer(min(cfg.PingAfter, suspectAfter))
	defer timer.Stop()
	now := time.Now()
	proof := now.Add(firstProof)
	proofs := 0
	v := vigil{deafPause: deafAfter}
	look := now.Add(suspectAfter)
	pinged := int64(-1) // the lastRead after which we have pinged
	var lapses lapse.Watch
	lapses.Until(now.Add(min(cfg.PingAfter, suspectAfter)))
	for {
		select {
		case <-s.done:
			return
		case <-ctx.Done():
			s.leave()
			return
		case <-s.poke:
			v.nextAsk, look = time.Time{}, time.Time{}
		case <-timer.C:
		}
		now = time.Now()
		read := s.lastRead.Load()
		if lapses.Woke(now) { // the process was stopped: what came meanwhile is unread, and the device may wait for our answer
			s.w.post(&apipb.PingRequest{})
			v.nextDeaf = later(v.nextDeaf, now.Add(deafAfter))
			look = now.Add(suspectAfter)
		}
		heard := lapses.Since(s.at(read))
		silent := now.Sub(heard)
		if silent >= cfg.DeadAfter {
			s.abort(&SilentError{For: silent})
			return
		}
		next := heard.Add(cfg.PingAfter)
		if silent >= cfg.PingAfter {
			if pinged != read {
				pinged = read
				s.w.post(&apipb.PingRequest{})
			}
			next = heard.Add(cfg.DeadAfter)
		}
		// Adverts prove the subscription, too.
		if s.info.Features.Has(ble.FeatureStateAndMode) && s.newestWins() && !s.subscribed.Load() && s.lastAdvert.Load() < 0 {
			if !now.Before(proof) {
				proofs++
				proof = now.Add(s.prove(proofs))
			}
			next = earlier(next, proof)
		}
		if !now.Before(look) {
			look = s.listen(now, &v)
		}
		next = earlier(next, look)
		lapses.Until(next)
		timer.Reset(next.Sub(now))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// prove subscribes again, and returns the time until the next attempt. From the second attempt on, the proxy counts as
// displaced.
func (s *session) prove(attempt int) time.Duration {
	s.subscribe()
	if attempt == 1 {
		return nextProof
	}
	s.p.setState(StateDisplaced, errDisplaced)
	s.p.explain("The proxy is not ours", errDisplaced)
	return laterProof
}

// proved notes a message 126.
func (s *session) proved() {
	if !s.subscribed.Swap(true) && s.up {
		s.recovered(StateDisplaced)
	}
}

// recovered returns from a degraded state.
func (s *session) recovered(from State) {
	p := s.p
	p.mu.Lock()
	back := p.state == from
	if back {
		p.state, p.lastErr = StateOnline, nil
	}
	p.mu.Unlock()
	if back {
		p.changed()
		p.log.Info("Proxy is back", "was", from.String())
	}
}
