package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
)

// Device is a device, and how it is reached.
type Device struct {
	// Dial connects to it. It must not be nil.
	Dial     func(context.Context) (net.Conn, error)
	PSK      *[apiwire.KeySize]byte // nil: plaintext
	Password string                 // of firmware up to 2025
	MAC      string                 // AA:BB:CC:DD:EE:FF; a session with another device is refused. Empty: any
}

// Hello is what the device is told of the client.
type Hello struct {
	Name         string // at most 31 bytes are kept by the firmware
	Major, Minor uint32 // the version of the API that the client speaks
}

// Message is a message that nobody has read.
type Message struct {
	ID      apiwire.ID
	Payload []byte
}

// Why a session cannot be opened, or ended.
var (
	// ErrFull: the device closed the connection without a word, as it does when it has as many clients as it takes.
	ErrFull = errors.New("the device takes no further API client: it closes the connection without a word; " +
		"end another client, or raise max_connections in the api: section of its ESPHome configuration")
	// ErrSilent: nothing came from the device for a minute, though it was asked, or it takes nothing.
	ErrSilent = errors.New("the device is silent")
	// ErrPassword: the device wants another password.
	ErrPassword = errors.New("the device refused the password: compare password with that of its ESPHome configuration")
)

// LeftError: the device asked the client to leave (message 5).
type LeftError struct{ Reason uint32 }

func (e *LeftError) Error() string { return "the device ended the session" }

const (
	// openTimeout bounds what comes before the session is open; the firmware gives up after 60 s.
	openTimeout = 30 * time.Second
	// maxEarly bounds the messages that come before the session is open, such as the question for the time.
	maxEarly = 64
)

// Open connects and says hello. The Session is to be ended by Run. An error wraps ErrFull where the device probably has
// too many clients.
func (d Device) Open(ctx context.Context, hello Hello) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	conn, err := d.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the device: %w", err)
	}
	s := newSession(conn)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err = s.open(d, hello)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("cannot open a session with the device: %w", err)
	}
	return s, nil
}

// open brings the session up as far as the answers to hello and device info.
func (s *Session) open(d Device, hello Hello) error {
	heard := &listener{Reader: s.conn}
	if err := s.secure(d, heard); err != nil {
		return s.early(heard, err)
	}
	var out []byte
	for _, m := range []proto.Message{
		&apipb.HelloRequest{ClientInfo: hello.Name, ApiVersionMajor: hello.Major, ApiVersionMinor: hello.Minor},
		&apipb.AuthenticationRequest{Password: d.Password},
		&apipb.DeviceInfoRequest{},
	} {
		var err error
		out, err = s.f.AppendMessage(out, m)
		if err != nil {
			return err
		}
	}
	if _, err := s.conn.Write(out); err != nil {
		return s.early(heard, err)
	}
	for {
		id, payload, err := s.f.Read()
		if err != nil {
			return s.early(heard, err)
		}
		switch id {
		case apiwire.HelloResponse:
		case apiwire.AuthenticationResponse:
			if m, err := apiwire.Unmarshal(id, payload); err == nil && m.(*apipb.AuthenticationResponse).GetInvalidPassword() {
				return ErrPassword
			}
		case apiwire.DeviceInfoResponse:
			m, err := apiwire.Unmarshal(id, payload)
			if err != nil {
				return err
			}
			if mac := m.(*apipb.DeviceInfoResponse).GetMacAddress(); d.MAC != "" && !strings.EqualFold(mac, d.MAC) {
				return fmt.Errorf("another device answers at its address: its MAC is %s, not %s", apiwire.Printable(mac, 17), d.MAC)
			}
			return nil
		default:
			if len(s.before) == maxEarly {
				return errors.New("the device says too much before it says what it is")
			}
			s.before = append(s.before, Message{id, append([]byte(nil), payload...)})
		}
	}
}

// secure runs the Noise handshake if there is a key.
func (s *Session) secure(d Device, heard io.Reader) error {
	if d.PSK == nil {
		s.f = apiwire.NewPlain(heard)
		return nil
	}
	f, _, err := apiwire.ClientHandshake(struct {
		io.Reader
		io.Writer
	}{heard, s.conn}, apiwire.ClientNoise{PSK: *d.PSK})
	s.f = f
	return err
}

// early is why a session could not be opened: a device that has no place closes the connection before it said anything.
func (s *Session) early(heard *listener, err error) error {
	closed := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
	if !heard.anything && closed {
		return ErrFull
	}
	return err
}

// listener notes whether anything was read.
type listener struct {
	io.Reader
	anything bool
}

func (l *listener) Read(b []byte) (int, error) {
	n, err := l.Reader.Read(b)
	l.anything = l.anything || n > 0
	return n, err
}
