package apiserver

import (
	"context"
	"slices"
	"time"

	"bluez-esphome/internal/apiwire"
)

// stalledAfter is how long a client may take nothing of what is relayed to it, before the session ends: the device that
// it comes from is to have the memory back.
const stalledAfter = 20 * time.Second

// Relay sends a message of another device, of which it keeps nothing. It waits while the client does not read: so that
// whoever sends is held back as by the client itself. If the client takes nothing for 20 s, the session ends. Messages
// are sent in the order of the calls and in order with all others; one goroutine at a time may call it.
func (s *Session) Relay(ctx context.Context, id apiwire.ID, payload []byte) error {
	m := message{id: id, payload: slices.Clone(payload), class: relayed}
	if s.queue.putRelayed(m) {
		return nil
	}
	stalled := time.NewTimer(stalledAfter)
	defer stalled.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.done:
			return ErrDisconnected
		case <-stalled.C:
			s.cancel(ErrOverflow)
			return ErrOverflow
		case <-s.queue.room:
			if s.queue.putRelayed(m) {
				return nil
			}
			stalled.Reset(stalledAfter)
		}
	}
}

// putRelayed adds m, or reports that there is no room now.
func (q *queue) putRelayed(m message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.finished != nil: // nobody reads on
	case q.count[relayed] > 0 && (q.count[relayed] >= q.limits.Relayed || q.relayed+len(m.payload) > q.limits.RelayedBytes):
		return false
	default:
		q.addLocked(m)
	}
	return true
}
