package apiconn

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
)

// lastWords is how long we still read from a peer that takes nothing any more: it may have said why it closes.
const lastWords = 200 * time.Millisecond

// leaveTimeout bounds the wait for the answer to our DisconnectRequest.
const leaveTimeout = 2 * time.Second

// session is one connection. Its run goroutine reads; one goroutine
// writes and one watches the time.
type session struct {
	p    *Proxy
	conn net.Conn
	f    *apiwire.Framer
	w    *writer
	ops  *ops
	done chan struct{} // closed when the session ends
	wg   sync.WaitGroup

	reading
	times
	deaf       atomic.Bool // it is shown as deaf
	probe      probe
	poke       chan struct{}            // capacity 1: look at once whether another host has the proxy
	takeNow    atomic.Bool              // and take it from that host
	wishAgain  atomic.Bool              // ask for the wished scan mode again: it was restored when the proxy was lost
	asked      atomic.Pointer[question] // of beside.go
	subscribed atomic.Bool              // a message 126 proved the subscription
	parting
}

// parting is what is known of a session's end.
type parting struct {
	closing  atomic.Bool                 // we have taken leave
	peerLeft atomic.Bool                 // the proxy asked to end the session, so we do not ask
	broken   atomic.Pointer[ClosedError] // writing failed

	mu    lockorder.Mutex[lockorder.SessionState]
	cause error // why the session is being ended, if not by the peer
}

// reading is what only the run goroutine of a session uses.
type reading struct {
	info    Info
	up      bool        // Online was called
	hears   bool        // adverts came
	limit   time.Time   // while it is brought up: when to give up
	first   ble.Slots   // what the first look at the slots showed
	unhook  func() bool // ends the watch on the context of open
	busy    throttle
	adverts []ble.RawAdvert
	decoded []byte // AD structures made of message 67
}

// times are when a session began, and when something last happened, in nanoseconds after that.
type times struct {
	begun      time.Time
	lastRead   atomic.Int64 // bytes came
	lastAdvert atomic.Int64 // advertisements came; -1 never
	lastValue  atomic.Int64 // a GATT value came
	nudged     atomic.Int64 // a sign of life made us ping
	regained   atomic.Int64 // the subscription came back from another host
}

func newSession(p *Proxy, conn net.Conn) *session {
	s := &session{p: p, conn: newRawConn(conn), done: make(chan struct{}), ops: newOps(), times: times{begun: time.Now()}, poke: make(chan struct{}, 1)}
	s.lastAdvert.Store(-1)
	return s
}

// Read implements io.Reader for the Framer and notes the time. Before the watch is there, silence ends it.
func (s *session) Read(b []byte) (int, error) {
	if pause := s.busy.end(time.Now()); pause > 0 {
		<-time.After(pause)
	}
	if !s.limit.IsZero() && s.broken.Load() == nil {
		_ = s.conn.SetReadDeadline(earlier(s.limit, time.Now().Add(s.p.cfg.DeadAfter))) // a connection without deadlines just waits
	}
	n, err := s.conn.Read(b)
	if n > 0 {
		s.p.traffic.read.Add(uint64(n))
		now := time.Now()
		s.lastRead.Store(int64(now.Sub(s.begun)))
		s.busy.begin(now)
	}
	return n, err
}

// at is a time of lastRead or lastAdvert, with its monotonic clock.
func (s *session) at(offset int64) time.Time { return s.begun.Add(time.Duration(offset)) }

// Write implements io.Writer for the handshake.
func (s *session) Write(b []byte) (int, error) {
	n, err := s.conn.Write(b)
	s.p.traffic.wrote(n)
	return n, err
}

// SetWriteDeadline passes the writer's deadline on.
func (s *session) SetWriteDeadline(t time.Time) error { return s.conn.SetWriteDeadline(t) }

// open brings the session up as far as the look at the slots. With an error it is over and cleaned up.
func (s *session) open(ctx context.Context) error {
	s.unhook = context.AfterFunc(ctx, func() { s.abort(ErrStopped) })
	slots, err := s.bringUp()
	if err != nil {
		s.unhook()
		err = s.reason(err)
		s.end(err)
		return err
	}
	s.first = slots
	return nil
}

// serve subscribes, reads until the session ends and cleans up after it.
func (s *session) serve(ctx context.Context) (err error) {
	if s.unhook() { // from here on the watch ends the session when ctx ends
		s.announce(s.first)
		s.wg.Go(func() { s.watch(ctx) })
		for err == nil {
			err = s.readOne()
		}
	}
	err = s.reason(err)
	s.end(err)
	return err
}

// end fails everything that waits and waits for the goroutines.
func (s *session) end(err error) {
	p := s.p
	if s.up {
		p.current.Store(nil)
		p.mu.Lock()
		p.slots = ble.Slots{}
		p.wasOurs = time.Time{}
		if p.state != StateDisplaced && !s.closing.Load() && !s.peerLeft.Load() {
			p.wasOurs = time.Now()
		}
		p.mu.Unlock()
		p.cfg.Handler.Offline(p, err)
		p.callLost(err)
	}
	close(s.done)
	_ = s.conn.Close() // it is over either way
	lost := &sessionLostError{err: err}
	if s.w != nil {
		s.w.fail(lost)
	}
	s.ops.fail(lost)
	s.wg.Wait()
}

// sessionLostError is what pending calls get when the session ends.
type sessionLostError struct{ err error }

func (e *sessionLostError) Error() string   { return "the session ended: " + e.err.Error() }
func (e *sessionLostError) Unwrap() []error { return []error{ble.ErrNotConnected, e.err} }

// abort ends the session with a reason; the first counts.
func (s *session) abort(err error) {
	s.mu.Lock()
	if s.cause == nil {
		s.cause = err
	}
	s.mu.Unlock()
	_ = s.conn.Close() // wakes the reader
}

// reason is why the session ended, given what the reader got.
func (s *parting) reason(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.cause != nil:
		return s.cause
	case s.closing.Load():
		return ErrStopped
	case err == nil:
		return ErrStopped
	}
	var unanswered *NoAnswerError
	if broken := s.broken.Load(); broken != nil && (errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &unanswered)) {
		return broken
	}
	return err
}

// readError describes a lost connection in plain words; it does not change other errors.
func (s *session) readError(err error) error {
	var netErr net.Error
	var early *apiwire.HelloLostError
	if errors.As(err, &early) {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) || errors.As(err, &netErr) {
		return &ClosedError{Err: err}
	}
	return err
}

// readOne reads and handles one message.
func (s *session) readOne() error {
	id, payload, err := s.f.Read()
	if err != nil {
		return s.readError(err)
	}
	return s.dispatch(id, payload)
}

// startWriter starts the writing goroutine once the frames' mode is known.
func (s *session) startWriter() {
	s.w = newWriter(s.f)
	if c, ok := s.conn.(*rawConn); ok {
		s.w.try = func(b []byte) int {
			n := c.writeNow(b)
			s.p.traffic.wrote(n)
			return n
		}
	}
	s.wg.Go(func() {
		if err := s.w.run(s, s.done, s.p.cfg.DeadAfter); err != nil {
			s.broken.Store(&ClosedError{Err: err})
			_ = s.conn.SetReadDeadline(time.Now().Add(lastWords)) // without deadlines the watch ends it
		}
	})
}

// leave asks the proxy to close the session and bounds the wait for its answer.
func (s *session) leave() {
	s.closing.Store(true)
	if s.peerLeft.Load() {
		return
	}
	if s.p.State() != StateDisplaced { // else it was restored when the proxy was lost
		s.restoreMode()
	}
	s.w.post(&apipb.DisconnectRequest{})
	_ = s.conn.SetReadDeadline(time.Now().Add(leaveTimeout)) // without deadlines the peer's close ends it
}
