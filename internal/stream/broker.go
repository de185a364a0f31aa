package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"bluez-esphome/internal/config"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
)

const (
	// connectTimeout bounds each step of an attempt to reach the broker.
	connectTimeout = 10 * time.Second
	// keepAlive is after how many seconds without a packet the broker is asked for a sign of life, and the session given
	// up when that does not come in the same time.
	keepAlive = 30
)

// broker is where the broker is, as host:port.
func broker(m config.MQTT) string { return net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port))) }

// brokerURL names the broker for people.
func brokerURL(m config.MQTT) string {
	if m.TLS {
		return "mqtts://" + broker(m)
	}
	return "mqtt://" + broker(m)
}

// clientID is what the broker knows us by.
func clientID(m config.MQTT, cfg Config) string {
	if m.ClientID != "" {
		return m.ClientID
	}
	return string(cfg.Installation.Append([]byte("bluez-esphome-"), ""))
}

// connect opens a session with the broker.
func (s *streamer) connect(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &session{s: s, wire: newWire(conn), session: state.NewInMemory(), down: make(chan error, 1), window: maxInflight}
	c.emit = c.collect
	c.client = paho.NewClient(paho.ClientConfig{
		ClientID: clientID(s.m, s.cfg), Conn: c.wire, Session: c.session, PacketTimeout: connectTimeout,
		OnPublishReceived:  []func(paho.PublishReceived) (bool, error){func(paho.PublishReceived) (bool, error) { return true, nil }},
		OnServerDisconnect: func(d *paho.Disconnect) { c.lost(disconnected(d)) },
		OnClientError:      func(err error) { c.lost(err) },
	})
	topic, payload := s.states.daemon(offline)
	one := uint16(1)
	small := uint32(maxInbound)
	ack, err := c.client.Connect(ctx, &paho.Connect{
		ClientID: clientID(s.m, s.cfg), KeepAlive: keepAlive, CleanStart: true,
		Username: s.m.User, UsernameFlag: s.m.User != "", Password: []byte(s.m.Password.Reveal()), PasswordFlag: s.m.Password.IsSet(),
		WillMessage: &paho.WillMessage{Retain: true, Topic: topic, Payload: []byte(payload)},
		Properties:  &paho.ConnectProperties{ReceiveMaximum: &one, MaximumPacketSize: &small},
	})
	if err != nil {
		cause := c.wire.cause(err)
		switch {
		case c.wire.old():
			err = fmt.Errorf("%w: %s: it answers as MQTT 3.1.1; use a broker of MQTT 5, as Mosquitto from 1.6 on is", errRefused, reasons[packets.ConnackUnsupportedProtocolVersion])
		case ack != nil:
			err = refused(ack.ReasonCode, err)
		case wantsCertificate(cause):
			err = fmt.Errorf("no TLS with the broker: %w", explain(cause))
		case closed(cause) && s.m.TLS:
			err = fmt.Errorf("the broker closed the connection instead of answering: %w: does it want a certificate (tls.cert_file, tls.key_file)?", cause)
		case closed(cause):
			err = fmt.Errorf("the broker closed the connection instead of answering: %w: are port and scheme (mqtt, mqtts) right?", cause)
		}
		return nil, err
	}
	if p := ack.Properties; p != nil {
		if p.MaximumPacketSize != nil {
			c.maxPacket = int(*p.MaximumPacketSize)
		}
		if p.ReceiveMaximum != nil {
			c.window = min(c.window, int(*p.ReceiveMaximum))
		}
		c.noQoS1 = p.MaximumQoS != nil && *p.MaximumQoS == 0
	}
	return c, nil
}

func (s *streamer) dial(ctx context.Context) (net.Conn, error) {
	var secure *tls.Config
	if s.m.TLS {
		var err error
		if secure, err = tlsConfig(s.m); err != nil {
			return nil, err
		}
	}
	dial := s.cfg.Dial
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	conn, err := dial(ctx, broker(s.m))
	if err != nil {
		return nil, unreached(err)
	}
	if secure == nil {
		return conn, nil
	}
	encrypted := tls.Client(conn, secure)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("no TLS with the broker: %w", explain(err))
	}
	return encrypted, nil
}

// unreached is why there is no connection, without Go's words and the broker's address, which stands beside it.
func unreached(err error) error {
	var (
		dns *net.DNSError
		sys syscall.Errno
	)
	switch {
	case errors.As(err, &dns):
		return fmt.Errorf("cannot resolve %s: %s", dns.Name, dns.Err)
	case errors.As(err, &sys):
		return sys
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in time")
	}
	return err
}

// closed reports whether the peer ended a connection.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Errors that a broker gives a reason for, with what to do (MQTT 5, 3.2.2.2 and 3.14.2.1).
var reasons = map[byte]string{
	packets.ConnackUnsupportedProtocolVersion: "it does not speak MQTT 5",
	packets.ConnackInvalidClientID:            "it does not take the client_id",
	packets.ConnackBadUsernameOrPassword:      "user or password is wrong",
	packets.ConnackNotAuthorized:              "the user may not connect; look into the broker's list of access rights",
	packets.ConnackServerUnavailable:          "it is not available now",
	packets.ConnackServerBusy:                 "it is busy",
	packets.ConnackBanned:                     "it has banned this client",
	packets.ConnackRetainNotSupported:         "it keeps no retained messages, which the states of daemon and proxies are",
	packets.ConnackQuotaExceeded:              "a quota is used up",
	packets.DisconnectSessionTakenOver:        "another client has the same client_id; give each its own, or leave client_id empty",
	packets.DisconnectServerShuttingDown:      "it stops",
	packets.DisconnectKeepAliveTimeout:        "it had no sign of life of this daemon in time",
	packets.DisconnectPacketTooLarge:          "a message is too long for it",
	packets.DisconnectMessageRateTooHigh:      "the messages come too fast for it; set at_most_every",
	packets.DisconnectTopicNameInvalid:        "it does not take the topic",
}

// errRefused is wrapped by what a broker gave a reason for.
var errRefused = errors.New("the broker refuses")

func refused(code byte, err error) error {
	if text := reasons[code]; text != "" {
		return fmt.Errorf("%w: %s (0x%02x)", errRefused, text, code)
	}
	return fmt.Errorf("%w (0x%02x): %.200q", errRefused, code, err.Error())
}

func disconnected(d *paho.Disconnect) error {
	said := ""
	if d.Properties != nil {
		said = d.Properties.ReasonString
	}
	return refused(d.ReasonCode, errors.New(said))
}
