package apiconn

import (
	"context"
	"time"

	"bluez-esphome/internal/ble"
)

// Flush returns when the proxy acknowledged every write without response to a, which it does once its stack has taken
// it, or once such an answer need not be expected any more (2 s after the write: firmware up to 2026.7 drops answers
// when its network is congested). With nothing under way it returns at once. The error is that of ctx or of a session
// that ended.
func (p *Proxy) Flush(ctx context.Context, a ble.Address) error {
	s := p.current.Load()
	if s == nil {
		return p.opError("wait for writes", a, errOffline)
	}
	for {
		wait, limit := s.ops.unacknowledged(a)
		if wait == nil {
			return nil
		}
		t := time.NewTimer(limit)
		select {
		case <-wait:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
		t.Stop()
	}
}

// unacknowledged finds an attribute of a with writes that are not acknowledged. wait is closed when it has none any
// more, and nil if there is no such attribute; it is to be asked again, after limit at the latest.
func (o *ops) unacknowledged(a ble.Address) (wait <-chan struct{}, limit time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for key, l := range o.lanes {
		if key.address != a {
			continue
		}
		if l.expire(now); len(l.acks) == 0 {
			continue
		}
		if l.none == nil {
			l.none = make(chan struct{})
		}
		return l.none, l.acks[len(l.acks)-1].Sub(now)
	}
	return nil, 0
}
