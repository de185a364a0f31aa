package apiwire

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/flynn/noise"
	"golang.org/x/crypto/chacha20poly1305"
)

const (
	prologue       = "NoiseAPIInit"
	chosenProtocol = 0x01
	// handshakeOK and handshakeReject are the first byte of the server's handshake frame.
	handshakeOK     = 0x00
	handshakeReject = 0x01
	// reasonMAC is the one reason whose text is part of the protocol.
	reasonMAC = "Handshake MAC failure"
)

// ServerHello is what a device says of itself before it checks the key:
// unauthenticated and as it came. Name is empty before ESPHome 2022.2, MAC (12 lower-case hexadecimal
// digits) before 2025.4.
type ServerHello struct {
	Name, MAC string
	Raw       []byte // the frame's body
}

// ClientNoise is the client's side of a handshake.
type ClientNoise struct {
	PSK [KeySize]byte
	// Random gives the ephemeral private key, 32 bytes. Nil is crypto/rand.Reader; tests
	// repeat a recorded handshake with it.
	Random io.Reader
}

func newHandshake(initiator bool, psk [KeySize]byte, clientHello []byte, random io.Reader) (*noise.HandshakeState, error) {
	if random == nil {
		random = rand.Reader
	}
	p := binary.BigEndian.AppendUint16([]byte(prologue), uint16(len(clientHello)))
	return noise.NewHandshakeState(noise.Config{
		CipherSuite:           noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256),
		Random:                random,
		Pattern:               noise.HandshakeNN,
		Initiator:             initiator,
		Prologue:              append(p, clientHello...),
		PresharedKey:          psk[:],
		PresharedKeyPlacement: 0,
	})
}

// appendNoiseFrame appends an unencrypted frame of the handshake.
func appendNoiseFrame(dst []byte, parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	dst = append(dst, noiseMarker)
	dst = binary.BigEndian.AppendUint16(dst, uint16(size))
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

// ClientHandshake makes an encrypted connection of rw. Hello and handshake go out in
// one write without waiting. The ServerHello is valid as far as it was received, also with an
// error, which is a *PlaintextDeviceError, *InvalidKeyError, *HandshakeError, *HelloLostError,
// *ProtocolError or that of rw.
func ClientHandshake(rw io.ReadWriter, cfg ClientNoise) (*Framer, ServerHello, error) {
	var hello ServerHello
	hs, err := newHandshake(true, cfg.PSK, nil, cfg.Random)
	if err != nil {
		return nil, hello, fmt.Errorf("cannot start the handshake: %w", err)
	}
	msg, _, _, err := hs.WriteMessage(nil, nil)
	if err != nil {
		return nil, hello, fmt.Errorf("cannot start the handshake: %w", err)
	}
	out := appendNoiseFrame(nil)
	out = appendNoiseFrame(out, []byte{handshakeOK}, msg)
	if _, err := rw.Write(out); err != nil {
		return nil, hello, &HelloLostError{Err: err}
	}

	f := NewPlain(rw)
	f.noise = true
	body, err := f.noiseFrame(MaxClientPayload)
	if err != nil {
		return nil, hello, helloError(err)
	}
	hello, err = parseServerHello(body)
	if err != nil {
		return nil, hello, err
	}
	body, err = f.noiseFrame(MaxClientPayload)
	if err != nil {
		return nil, hello, err
	}
	if len(body) == 0 {
		return nil, hello, &HandshakeError{Reason: "the device's handshake is empty"}
	}
	if body[0] != handshakeOK {
		reason := string(body[1:])
		if reason == reasonMAC {
			return nil, hello, &InvalidKeyError{Name: hello.Name, MAC: hello.MAC}
		}
		return nil, hello, &HandshakeError{Reason: reason}
	}
	_, toServer, toClient, err := hs.ReadMessage(nil, body[1:])
	if err != nil || toServer == nil || toClient == nil {
		return nil, hello, &InvalidKeyError{Name: hello.Name, MAC: hello.MAC}
	}
	return f, hello, f.encrypt(toServer, toClient)
}

// helloError tells a connection that broke before the hello from other failures.
func helloError(err error) error {
	var protocol *ProtocolError
	var plaintext *PlaintextDeviceError
	if errors.As(err, &protocol) || errors.As(err, &plaintext) {
		return err
	}
	return &HelloLostError{Err: err}
}

// parseServerHello reads the chosen protocol, the name and the MAC; a field
// without its terminating NUL counts as absent.
func parseServerHello(body []byte) (ServerHello, error) {
	h := ServerHello{Raw: append([]byte(nil), body...)}
	if len(body) == 0 {
		return h, &HandshakeError{Reason: "the device's hello is empty"}
	}
	if body[0] != chosenProtocol {
		return h, &HandshakeError{Reason: fmt.Sprintf("the device chose unknown protocol %d", body[0])}
	}
	name, rest, ok := strings.Cut(string(body[1:]), "\x00")
	if !ok {
		return h, nil
	}
	h.Name = name
	if mac, _, ok := strings.Cut(rest, "\x00"); ok {
		h.MAC = mac
	}
	return h, nil
}

// encrypt sets the keys of a finished handshake.
func (f *Framer) encrypt(send, recv *noise.CipherState) error {
	for d, s := range map[*direction]*noise.CipherState{&f.send: send, &f.recv: recv} {
		key := s.UnsafeKey()
		aead, err := chacha20poly1305.New(key[:])
		if err != nil {
			return fmt.Errorf("cannot use the session key: %w", err)
		}
		d.aead = aead
	}
	f.noise = true
	return nil
}
