package apiconn

import (
	"context"
	"time"

	"bluez-esphome/internal/ble"
)

// Flush returns once the proxy has acknowledged every write without response to a. The proxy does so once its stack has
// taken the write; firmware up to 2026.7 drops acknowledgements when its network is congested, so that they are waited
// for no longer than 2 s after the write. With no write under way Flush returns at once. The error is that of ctx or of
// a session that ended.
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
		if !waitAtMost(ctx, wait, limit) {
			return context.Cause(ctx)
		}
	}
}

// unacknowledged looks for an attribute of a with writes that are not acknowledged, and returns a nil wait if there is
// none. Else the caller asks again when wait is closed, which is when that attribute has no such writes any more, or
// after limit.
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

// waitAtMost waits until done is closed, for no longer than limit. It reports false if ctx ended first.
func waitAtMost(ctx context.Context, done <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	return true
}
