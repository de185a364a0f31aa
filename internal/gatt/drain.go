package gatt

import (
	"context"
	"time"

	"bluez-esphome/internal/ble"
)

// drainWait is how long a link may outlive the wish to end it, for what was accepted before (bluetoothd 5.87, which
// always waits so long).
const drainWait = 2 * time.Second

// Flusher is a Proxy that can tell when writes without response are out of its hands.
type Flusher interface {
	// Flush returns when every write without response to a is acknowledged, at once if none is under way.
	Flush(ctx context.Context, a ble.Address) error
}

// WholeProxy is a Proxy that can do all that a Manager may ask of one. What wraps a proxy is to be one, since a Manager does
// without what it does not find.
type WholeProxy interface {
	Proxy
	Starter
	MTUTeller
	Flusher
}

// drainLocked lets what was accepted be done before the link ends, at most drainWait: operations that wait, the one
// under way, and commands that the proxy has not acknowledged. A pairing is called off. It reports false if there is no
// link that could.
func (s *session) drainLocked() bool {
	if s.phase != phaseLive || !s.serving || s.change.pending {
		return false
	}
	s.phase, s.draining = phaseOver, true
	s.cancelPairLocked()
	s.queue.take(func(o *op) bool { return o.ours })
	if s.oursCancel != nil {
		s.oursCancel(errLocal)
	}
	s.drainTimer = time.AfterFunc(drainWait, func() { s.cancel(errLocal) })
	s.wakeLocked()
	return true
}

// drained reports whether the link may end.
func (s *session) drained() bool {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.draining && s.flight == nil && (s.queue.empty() || s.change.pending)
}

// flush waits until the commands that were handed to the proxy are out of its hands, or the link ends.
func (s *session) flush(ctx context.Context, l *link) {
	f, ok := l.ps.proxy.(Flusher)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, drainWait, errTooLong)
	defer cancel()
	if err := f.Flush(ctx, s.addr); err != nil {
		s.m.log.Debug("commands may be lost", "device", s.addr, "proxy", l.ps.name, "error", err)
	}
}
