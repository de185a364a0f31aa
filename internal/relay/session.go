package relay

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/lapse"
	"bluez-esphome/internal/lockorder"
)

const (
	// pingAfter is the silence of the device after which it is pinged; deadAfter that after which the session ends.
	pingAfter = 20 * time.Second
	deadAfter = 60 * time.Second
	// stalledAfter is how long the device may take nothing of what is written.
	stalledAfter = 20 * time.Second
	// leaveTimeout bounds the goodbye.
	leaveTimeout = 2 * time.Second
	// maxQueued is how many bytes may wait to be written; then Send waits.
	maxQueued = 64 << 10
	// maxBatch is how many messages are handed on at once, at most.
	maxBatch = 64
)

// Session is a session with a device. Send may be called by one goroutine at a time, Run once.
type Session struct {
	conn   net.Conn
	f      *apiwire.Framer
	before []Message // came while it was opened
	done   chan struct{}

	begun    time.Time
	lastRead atomic.Int64 // nanoseconds after begun

	mu    lockorder.Mutex[lockorder.Leaf]
	buf   []byte
	ended error         // why nothing is sent any more
	wake  chan struct{} // capacity 1: there is something to write
	room  chan struct{} // capacity 1: there is room again
}

func newSession(conn net.Conn) *Session {
	return &Session{
		conn: conn, begun: time.Now(), done: make(chan struct{}), wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
}

// Send sends a message, of which it keeps nothing. It waits while the device does not take what was sent before, and
// fails when the session ends.
func (s *Session) Send(id apiwire.ID, payload []byte) error {
	for {
		s.mu.Lock()
		if s.ended != nil {
			defer s.mu.Unlock()
			return s.ended
		}
		if len(s.buf) == 0 || len(s.buf)+len(payload) <= maxQueued {
			var err error
			s.buf, err = s.f.Append(s.buf, id, payload)
			s.mu.Unlock()
			signal(s.wake)
			return err
		}
		s.mu.Unlock()
		select {
		case <-s.room:
		case <-s.done:
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Take takes messages of the device that came at once, in order. It may change the list. List and payloads are valid
// during the call. It may wait, but not beyond the end of ctx.
type Take func(ctx context.Context, list []Message) error

// Run passes what the device says to take, in order, until the session ends, and closes it. An error of
// take ends the session, as does the end of ctx, with a goodbye to the device. The error of Run says why it ended and
// is never nil.
func (s *Session) Run(ctx context.Context, take Take) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.lastRead.Store(int64(time.Since(s.begun)))
	wg.Go(func() {
		if err := s.write(); err != nil {
			cancel(fmt.Errorf("cannot write to the device: %w", err))
		}
	})
	wg.Go(func() { s.watch(ctx, cancel) })
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Now()) })
	defer stop()
	err := s.read(ctx, take)
	cancel(err)
	err = context.Cause(ctx)
	s.mu.Lock()
	s.ended = err
	s.mu.Unlock()
	close(s.done)
	wg.Wait()
	_ = s.conn.Close()
	return err
}

// read passes messages on until the connection or take fails, or the device leaves.
func (s *Session) read(ctx context.Context, take Take) error {
	batch := s.before
	s.before = nil
	for {
		if len(batch) > 0 && (len(batch) == maxBatch || !s.f.Buffered()) {
			if err := take(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
		waits := !s.f.Buffered()
		id, payload, err := s.f.Read()
		if err != nil {
			return fmt.Errorf("cannot read from the device: %w", err)
		}
		if waits {
			s.lastRead.Store(int64(time.Since(s.begun)))
		}
		switch id {
		case apiwire.PingRequest:
			err = s.Send(apiwire.PingResponse, nil)
		case apiwire.DisconnectRequest:
			_ = s.Send(apiwire.DisconnectResponse, nil) // it ends in any case
			if len(batch) > 0 {
				_ = take(ctx, batch)
			}
			left := &LeftError{}
			if m, err := apiwire.Unmarshal(id, payload); err == nil {
				left.Reason = uint32(m.(*apipb.DisconnectRequest).GetReason())
			}
			return left
		case apiwire.PingResponse, apiwire.DisconnectResponse, apiwire.HelloResponse, apiwire.AuthenticationResponse, apiwire.DeviceInfoResponse:
		default:
			batch = append(batch, Message{id, payload}) // valid until a read that waits
		}
		if err != nil {
			return err
		}
	}
}

// write writes what is queued until the session ends, and then the goodbye.
func (s *Session) write() error {
	var out []byte
	for {
		s.mu.Lock()
		out, s.buf = s.buf, out[:0]
		s.mu.Unlock()
		signal(s.room)
		if len(out) > 0 {
			_ = s.conn.SetWriteDeadline(time.Now().Add(stalledAfter)) // without deadlines the watch ends it
			if _, err := s.conn.Write(out); err != nil {
				return err
			}
			continue
		}
		select {
		case <-s.wake:
		case <-s.done:
			s.leave()
			return nil
		}
	}
}

// leave says goodbye to a device that may be gone.
func (s *Session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := s.f.Append(s.buf, apiwire.DisconnectRequest, nil)
	if err != nil {
		return
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(leaveTimeout))
	_, _ = s.conn.Write(out)
}

// watch pings a silent device and ends the session of a dead one.
func (s *Session) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	timer := time.NewTicker(pingAfter)
	defer timer.Stop()
	var lapses lapse.Watch
	for {
		lapses.Until(time.Now().Add(pingAfter))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		now := time.Now()
		lapses.Woke(now)
		silent := now.Sub(lapses.Since(s.begun.Add(time.Duration(s.lastRead.Load()))))
		if silent >= deadAfter {
			cancel(ErrSilent)
			return
		}
		if silent >= pingAfter {
			s.ping()
		}
	}
}

// ping asks the device for a sign of life; not behind a queue that it does not take.
func (s *Session) ping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.buf) < maxQueued && s.ended == nil {
		if buf, err := s.f.Append(s.buf, apiwire.PingRequest, nil); err == nil {
			s.buf = buf
			signal(s.wake)
		}
	}
}
