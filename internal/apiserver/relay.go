package apiserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"bluez-esphome/internal/apiwire"
)

// stalledAfter is how long a client may take nothing of what is relayed to it, before the session ends: the device that
// it comes from is to have the memory back.
const stalledAfter = 20 * time.Second

// maxDirect is the largest buffer that a session keeps for what is relayed.
const maxDirect = 64 << 10

// Relayed is a message of another device.
type Relayed struct {
	ID      apiwire.ID
	Payload []byte
}

// Relay sends messages of another device, of which it keeps nothing. It waits while the client does not read: so that
// whoever sends is held back as by the client itself. If the client takes nothing for 20 s, the session ends. Messages
// are sent in the order of the calls and in order with all others; one goroutine at a time may call it.
func (s *Session) Relay(ctx context.Context, list ...Relayed) error {
	if done, err := s.relayNow(list); done {
		return err
	}
	for _, r := range list {
		if err := s.relay(ctx, message{id: r.ID, payload: slices.Clone(r.Payload), class: relayed}); err != nil {
			return err
		}
	}
	return nil
}

// relayNow writes in the caller's goroutine, unless something waits to be written before.
func (s *Session) relayNow(list []Relayed) (done bool, err error) {
	if !s.writing.TryLock() {
		return false, nil
	}
	defer s.writing.Unlock()
	if !s.queue.isIdle() {
		return false, nil
	}
	s.direct = s.direct[:0]
	for _, r := range list {
		s.direct, err = s.framer.Append(s.direct, r.ID, r.Payload)
		if err != nil {
			s.cancel(err)
			return true, err
		}
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(stalledAfter))
	_, err = s.conn.Write(s.direct)
	if cap(s.direct) > maxDirect {
		s.direct = nil
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = ErrOverflow
		s.cancel(err)
	case err != nil:
		s.cancel(fmt.Errorf("cannot write to the client: %w", err))
	default:
		_ = s.conn.SetWriteDeadline(time.Time{})
	}
	return true, err
}

func (s *Session) relay(ctx context.Context, m message) error {
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

// isIdle reports whether nothing waits, nothing is being written and the session is not ending.
func (q *queue) isIdle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.msgs) == 0 && !q.busy && q.finished == nil
}
