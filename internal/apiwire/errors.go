package apiwire

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Caps for text that a device sends before it has proved to know the key (in runes).
const (
	maxShownName   = 32
	maxShownMAC    = 17
	maxShownReason = 64
)

// Printable makes text of a peer fit for logs: everything that does not
// print becomes '?', invalid UTF-8 too, and at most limit runes remain.
func Printable(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == limit {
			b.WriteString("…")
			break
		}
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// AuthFailure reports whether err, or an error that it wraps, is one that a
// retry cannot cure before somebody changes a key or a password.
func AuthFailure(err error) bool {
	var a interface{ AuthFailure() bool }
	return errors.As(err, &a) && a.AuthFailure()
}

// RequiresEncryptionError: a plaintext client reached a device that has a key.
type RequiresEncryptionError struct{}

func (*RequiresEncryptionError) Error() string {
	return "the device requires encryption: set noise_psk to the api encryption key of its ESPHome configuration"
}

// AuthFailure is true: only a key helps.
func (*RequiresEncryptionError) AuthFailure() bool { return true }

// PlaintextDeviceError: a client with a key reached a device that speaks plaintext.
type PlaintextDeviceError struct{}

func (*PlaintextDeviceError) Error() string {
	return "the device does not use encryption: remove noise_psk, or add encryption to the api section of its ESPHome configuration"
}

// InvalidKeyError: the device and we don't have the same key. Name and MAC are what
// its hello said, unauthenticated and as they came; both may be empty.
type InvalidKeyError struct{ Name, MAC string }

func (e *InvalidKeyError) Error() string {
	return fmt.Sprintf("the device%s refused the encryption key: compare noise_psk with the api encryption key of its ESPHome configuration, and that this is the right device", identity(e.Name, e.MAC))
}

// AuthFailure is true: only another key helps.
func (*InvalidKeyError) AuthFailure() bool { return true }

func identity(name, mac string) string {
	switch {
	case name == "" && mac == "":
		return ""
	case mac == "":
		return fmt.Sprintf(" (which says it is %s)", Printable(name, maxShownName))
	}
	return fmt.Sprintf(" (which says it is %s, MAC %s)", Printable(name, maxShownName), MAC(mac))
}

// DecryptError: a frame after the handshake was damaged or forged.
type DecryptError struct{}

func (*DecryptError) Error() string {
	return "a frame could not be decrypted: if it happens again, compare noise_psk with the device's key and look for something that alters the connection"
}

// AuthFailure is true, as ESPHome's own client classes it.
func (*DecryptError) AuthFailure() bool { return true }

// PSKError: a key is not base64 of 32 bytes. It does not hold the key.
type PSKError struct{ Length int } // characters of the rejected text

func (e *PSKError) Error() string {
	return fmt.Sprintf("malformed noise_psk of %d characters: want base64 of 32 bytes (44 characters), as in the api encryption key of the ESPHome configuration", e.Length)
}

// AuthFailure is true: only another key helps.
func (*PSKError) AuthFailure() bool { return true }

// HandshakeError: the handshake failed for another reason than the key. Reason is
// the device's text or ours.
type HandshakeError struct{ Reason string }

func (e *HandshakeError) Error() string {
	return fmt.Sprintf("the encryption handshake failed: %s; if it persists, restart the device and check that nothing else answers at this address", Printable(e.Reason, maxShownReason))
}

// HelloLostError: the connection broke before the device's hello arrived.
type HelloLostError struct{ Err error }

func (e *HelloLostError) Error() string {
	return fmt.Sprintf("the connection was lost before the device said hello (%v): it may be restarting, out of memory or have too many API clients", e.Err)
}

func (e *HelloLostError) Unwrap() error { return e.Err }

// ProtocolError: the peer sent what the native API does not allow.
type ProtocolError struct{ Detail string }

func (e *ProtocolError) Error() string {
	return "protocol error: " + e.Detail + "; check that this is an ESPHome native API port (6053)"
}

// ClientModeError: the server refused a client that speaks the other mode. It was told
// so (the reject is already written).
type ClientModeError struct {
	First byte // the first byte it sent
	Keyed bool // the server wants Noise
}

func (e *ClientModeError) Error() string {
	want := "plaintext"
	if e.Keyed {
		want = "encryption"
	}
	return fmt.Sprintf("refused a client: it began with byte 0x%02x, but this server uses %s", e.First, want)
}

// RejectedClientError: the server refused a client's handshake and sent it Reason.
type RejectedClientError struct{ Reason string }

func (e *RejectedClientError) Error() string { return "refused a client: " + e.Reason }
