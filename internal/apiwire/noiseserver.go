package apiwire

import (
	"errors"
	"fmt"
	"io"
)

// ServerNoise is the device's side of a handshake.
type ServerNoise struct {
	PSK [KeySize]byte
	// Name (at most 31 bytes) and MAC (12 lower-case hexadecimal digits) are told to every
	// client before the key is checked.
	Name, MAC string
	// Hello replaces the body of the hello if it is not nil: firmware before 2022.2 sends
	// the byte 01 alone, before 2025.4 no MAC.
	Hello []byte
	// Random is as in ClientNoise.
	Random io.Reader
}

// maxServerHandshake is the largest handshake frame that the firmware accepts.
const maxServerHandshake = 128

// badIndicator is what either kind of server tells a client of the other kind.
const badIndicator = "Bad indicator byte"

// newServer returns a Framer with the firmware's limits.
func newServer(r io.Reader) *Framer {
	f := NewPlain(r)
	f.MaxPayload, f.strict = MaxServerPayload, true
	return f
}

// first returns the first byte of the connection and leaves it there.
func (f *Framer) first() (byte, error) {
	for f.end == f.start {
		if err := f.fill(0); err != nil {
			return 0, err
		}
	}
	return f.buf[f.start], nil
}

// ServerPlain waits for the first byte of a client of a device without a key. To
// a client that does not speak plaintext it says so and returns a *ClientModeError; the caller
// closes the connection.
func ServerPlain(rw io.ReadWriter) (*Framer, error) {
	f := newServer(rw)
	b, err := f.first()
	if err != nil {
		return nil, fmt.Errorf("cannot read from the client: %w", err)
	}
	if b == plainMarker {
		return f, nil
	}
	_, _ = rw.Write(append([]byte{plainMarker}, badIndicator...)) // the connection ends anyway
	return nil, &ClientModeError{First: b}
}

// ServerUnprovisioned serves a client of a device that can encrypt but has no key
// yet: plaintext and Noise with the all-zero key are both accepted. cfg.PSK is not used.
func ServerUnprovisioned(rw io.ReadWriter, cfg ServerNoise) (*Framer, error) {
	f := newServer(rw)
	b, err := f.first()
	if err != nil {
		return nil, fmt.Errorf("cannot read from the client: %w", err)
	}
	if b == plainMarker {
		return f, nil
	}
	cfg.PSK = [KeySize]byte{}
	return serverHandshake(f, rw, cfg)
}

// ServerHandshake makes an encrypted connection of rw for a device with a key. A client
// that fails is told why as the firmware tells it; the error then is a *ClientModeError or a
// *RejectedClientError, and the caller closes the connection.
func ServerHandshake(rw io.ReadWriter, cfg ServerNoise) (*Framer, error) {
	return serverHandshake(newServer(rw), rw, cfg)
}

func serverHandshake(f *Framer, w io.Writer, cfg ServerNoise) (*Framer, error) {
	b, err := f.first()
	if err != nil {
		return nil, fmt.Errorf("cannot read from the client: %w", err)
	}
	if b != noiseMarker {
		_, _ = w.Write(rejectFrame(badIndicator)) // the connection ends anyway
		return nil, &ClientModeError{First: b, Keyed: true}
	}
	clientHello, err := f.handshakeFrame(w)
	if err != nil {
		return nil, err
	}
	hs, err := newHandshake(false, cfg.PSK, clientHello, cfg.Random)
	if err != nil {
		return nil, fmt.Errorf("cannot start the handshake: %w", err)
	}
	hello := cfg.Hello
	if hello == nil {
		hello = fmt.Appendf(nil, "%c%s\x00%s\x00", chosenProtocol, cfg.Name, cfg.MAC)
	}
	if _, err := w.Write(appendNoiseFrame(nil, hello)); err != nil {
		return nil, fmt.Errorf("cannot write to the client: %w", err)
	}
	msg, err := f.handshakeFrame(w)
	switch {
	case err != nil:
		return nil, err
	case len(msg) == 0:
		return nil, reject(w, "Empty handshake message")
	case msg[0] != handshakeOK:
		return nil, reject(w, "Bad handshake error byte")
	}
	if len(msg) < 1+KeySize+tagSize {
		return nil, reject(w, "Handshake error")
	}
	if _, _, _, err := hs.ReadMessage(nil, msg[1:]); err != nil {
		return nil, reject(w, reasonMAC)
	}
	answer, toServer, toClient, err := hs.WriteMessage(nil, nil)
	if err != nil || toServer == nil || toClient == nil {
		return nil, reject(w, "Handshake error")
	}
	if _, err := w.Write(appendNoiseFrame(nil, []byte{handshakeOK}, answer)); err != nil {
		return nil, fmt.Errorf("cannot write to the client: %w", err)
	}
	return f, f.encrypt(toClient, toServer)
}

// handshakeFrame reads a frame of the handshake and rejects an oversized one.
func (f *Framer) handshakeFrame(w io.Writer) ([]byte, error) {
	body, err := f.noiseFrame(maxServerHandshake)
	var protocol *ProtocolError
	var plaintext *PlaintextDeviceError
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &plaintext):
		return nil, reject(w, badIndicator)
	case errors.As(err, &protocol):
		if f.buf[f.start] != noiseMarker {
			return nil, reject(w, badIndicator)
		}
		return nil, reject(w, "Bad handshake packet len")
	}
	return nil, fmt.Errorf("cannot read from the client: %w", err)
}

func rejectFrame(reason string) []byte {
	return appendNoiseFrame(nil, []byte{handshakeReject}, []byte(reason))
}

func reject(w io.Writer, reason string) error {
	_, _ = w.Write(rejectFrame(reason)) // the connection ends anyway
	return &RejectedClientError{Reason: reason}
}
