package apiserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lapse"
	"bluez-esphome/internal/lockorder"
)

// Times of the firmware.
const (
	// setupTimeout is from accept to authentication (ESPHome 2026.6; 15 s in 2026.3).
	setupTimeout = 60 * time.Second
	// pingAfter is the silence of the client after which the device pings.
	pingAfter = 60 * time.Second
	// deadAfter is the silence of the client after which the device gives up.
	deadAfter = 150 * time.Second
	// goodbyeTimeout is how long a session that is to end may take to say so.
	goodbyeTimeout = 5 * time.Second
)

// Reasons for which a session ended.
var (
	// ErrDisconnected: the client, or this side with Session.Disconnect, said goodbye.
	ErrDisconnected = errors.New("the session was closed in order")
	// ErrSilent: nothing came from the client for 150 s, or no hello within 60 s.
	ErrSilent = errors.New("the client is silent")
	// ErrOverflow: the client did not read, and the queue of what it must not miss was full.
	ErrOverflow = errors.New("the client does not read: its queue is full")
	// ErrPassword: the client sent a wrong password.
	ErrPassword = errors.New("the client sent a wrong password")
	// ErrNotAuthenticated: the client asked for something before hello or password.
	// ErrRefused: Config.Proved let nobody in.
	ErrRefused          = errors.New("there is no room for the client")
	ErrNotAuthenticated = errors.New("the client sent a request before it was authenticated")
)

// Config configures sessions. It may be shared by all sessions of a device.
type Config struct {
	// Device gives what the device says of itself. It must not be nil.
	Device func() Device
	// PSK is the key; nil means plaintext.
	PSK *[apiwire.KeySize]byte
	// Unprovisioned, with a nil PSK: encryption is built in but has no key yet, so that
	// plaintext and the all-zero key are both accepted.
	Unprovisioned bool
	// PlainUntilKey, with Unprovisioned: until there is a key only plaintext is accepted, and nobody is told that one
	// may be set, as before 2026.8 (esphome/esphome#17482).
	PlainUntilKey bool
	// OldNoiseHello leaves the MAC out of the Noise hello, as before 2025.4.
	OldNoiseHello bool
	// APIMinor is the minor version of API 1 that is announced.
	APIMinor uint32
	// ServerInfo is HelloResponse.server_info, the ESPHome version if empty.
	ServerInfo string
	// Password is what message 3 has to carry unless AuthOnHello.
	Password string
	// AuthOnHello: the hello alone authenticates (2025.8 and later, with no password).
	AuthOnHello bool
	// AnswerAuth: message 3 is answered by 4 (before 2026.1).
	AnswerAuth bool
	// SetKey takes the key that a client sets (message 124), as the client sent it, and answers by Session.KeySet. Nil
	// refuses every key.
	SetKey func(s *Session, key []byte)
	// ProvisioningClosed, unless nil, reports whether the device waited too long for its key: then a client is told so
	// after its hello and turned away.
	ProvisioningClosed func() bool
	// AskTime: the client is asked for the time once it is authenticated, as by devices that have
	// Home Assistant's clock.
	AskTime bool
	// Queue bounds what waits to be written; zero fields mean the defaults.
	Queue QueueLimits
	// Proved, if not nil, is called once: when the handshake has shown that the client has the key, or, without a key,
	// when it said hello. If it reports false the session ends without a word, as where a device has too many clients.
	Proved func() bool
	// Log must not be nil.
	Log *slog.Logger
}

// Session is one client's session. All methods are safe for concurrent use
// and none waits for the client.
type Session struct {
	cfg     Config
	conn    net.Conn
	framer  *apiwire.Framer
	backend Backend
	other   OtherBackend // nil: no other features
	log     *slog.Logger
	cancel  context.CancelCauseFunc
	done    <-chan struct{}
	queue   *queue
	// encryption and writing, which go in one order; held while the client does not read
	writing lockorder.Mutex[lockorder.HostWriting]
	direct  []byte // of Relay, under writing

	liveness
	progress

	mu           lockorder.Mutex[lockorder.HostSession]
	name         string // as the client calls itself
	major, minor uint32 // of the API, as the client announced
}

// liveness says whether the client still answers. Times are nanoseconds after begun, by the monotonic clock.
type liveness struct {
	begun    time.Time
	lastRead atomic.Int64
	pinged   atomic.Bool  // since lastRead
	goodbye  atomic.Int64 // when the session ends at the latest; 0: none
}

// progress is how far a session has come. It belongs to the goroutine that reads.
type progress struct {
	greeted, authed, leaving bool
	turnedAway               bool // by ProvisioningClosed: only goodbyes count
}

// Serve runs one session on conn until it ends, and closes conn. The error
// says why it ended and is never nil.
func Serve(ctx context.Context, conn net.Conn, cfg Config, b Backend) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &Session{cfg: cfg, conn: conn, backend: b, cancel: cancel, done: ctx.Done(), log: cfg.Log, queue: newQueue(cfg.Queue), liveness: liveness{begun: time.Now()}}
	s.other, _ = b.(OtherBackend)
	s.endWithin(setupTimeout)

	var wg sync.WaitGroup
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() { _ = conn.Close(); close(closed) }) // ends reads and writes
	wg.Go(func() { s.keepAlive(ctx) })
	err := s.handshake()
	if err == nil {
		wg.Go(func() { s.write(ctx) })
		err = s.read()
	}
	cancel(err)
	<-closed
	wg.Wait()
	if s.authed {
		b.Closed(s)
	}
	return fmt.Errorf("session of %s ended: %w", s.ClientName(), context.Cause(ctx))
}

// Close ends the session at once, without a word to the client.
func (s *Session) Close(err error) { s.cancel(err) }

// DisconnectReason is why a device asks a client to leave.
type DisconnectReason uint8

// Reasons of message 5.
const (
	ReasonUnspecified        DisconnectReason = 0
	ReasonProvisioningClosed DisconnectReason = 1 // the device waited too long for an encryption key
)

// Disconnect asks the client to leave (message 5) and ends the session when it does, or after 5 s.
func (s *Session) Disconnect(why DisconnectReason) {
	s.endWithin(goodbyeTimeout)
	s.pinged.Store(false)
	s.send(&apipb.DisconnectRequest{Reason: apipb.DisconnectReason(why)})
	s.queue.kick()
}

// ClientName is what the client calls itself, made printable; its address before hello.
func (s *Session) ClientName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.name != "" {
		return s.name
	}
	return s.conn.RemoteAddr().String()
}

// RemoteAddr is the client's address.
func (s *Session) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Done is closed when the session begins to end.
func (s *Session) Done() <-chan struct{} { return s.done }

// ClientVersion is the version of the API that the client announced.
func (s *Session) ClientVersion() (major, minor uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.major, s.minor
}

func (s *Session) handshake() error {
	d := s.cfg.Device()
	noise := apiwire.ServerNoise{Name: d.Name, MAC: wireMAC(d.MAC)}
	if s.cfg.OldNoiseHello {
		noise.Hello = append([]byte{1}, d.Name+"\x00"...)
	}
	var err error
	switch {
	case s.cfg.PSK != nil:
		noise.PSK = *s.cfg.PSK
		s.framer, err = apiwire.ServerHandshake(s.conn, noise)
		if err == nil && !s.proved() {
			err = ErrRefused
		}
	case s.cfg.Unprovisioned && !s.cfg.PlainUntilKey:
		s.framer, err = apiwire.ServerUnprovisioned(s.conn, noise)
	default:
		s.framer, err = apiwire.ServerPlain(s.conn)
	}
	return err
}

// proved reports whether the client, which showed what it had to, may go on.
func (s *Session) proved() bool { return s.cfg.Proved == nil || s.cfg.Proved() }

// wireMAC gives the form of the Noise hello: 12 lower-case digits.
func wireMAC(mac string) string {
	a, err := ble.ParseAddress(mac)
	if err != nil {
		return ""
	}
	return a.Hex()
}

// endWithin sets when the session ends at the latest.
func (s *Session) endWithin(d time.Duration) { s.goodbye.Store(int64(time.Since(s.begun) + d)) }

// keepAlive pings a silent client and ends the session of a dead one, or of
// one that was to say hello or goodbye and did not.
func (s *Session) keepAlive(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var lapses lapse.Watch
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.queue.kicked:
		}
		now := time.Now()
		lapses.Woke(now)
		last := lapses.Since(s.begun.Add(time.Duration(s.lastRead.Load())))
		next := last.Add(deadAfter)
		if !next.After(now) {
			s.cancel(ErrSilent)
			return
		}
		if bye := s.goodbye.Load(); bye != 0 {
			end := s.begun.Add(time.Duration(bye))
			if !end.After(now) {
				s.cancel(ErrSilent)
				return
			}
			next = earlier(next, end)
		} else if ping := last.Add(pingAfter); ping.After(now) {
			next = earlier(next, ping)
		} else if s.pinged.CompareAndSwap(false, true) {
			s.sendEmpty(apiwire.PingRequest)
			next = earlier(next, now.Add(pingAfter)) // to ping again after an answer
		}
		lapses.Until(next)
		timer.Reset(time.Until(next))
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// write sends what the queue holds until the session ends, or until the queue
// is finished and empty.
func (s *Session) write(ctx context.Context) {
	var buf []byte
	for {
		msgs, err := s.queue.take(ctx)
		if err != nil {
			s.cancel(err)
			return
		}
		s.writing.Lock()
		buf = buf[:0]
		for _, m := range msgs {
			buf, err = s.framer.Append(buf, m.id, m.payload)
			if err != nil {
				s.writing.Unlock()
				s.cancel(err)
				return
			}
		}
		_, err = s.conn.Write(buf)
		s.writing.Unlock()
		if err != nil {
			s.cancel(fmt.Errorf("cannot write to the client: %w", err))
			return
		}
	}
}
