package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const redacted = "[redacted]"

// Secret is a Noise pre-shared key, or none (the zero value). It never shows its bytes: fmt, slog
// and encoding write "[redacted]", or "" if there is none. Secrets are comparable.
type Secret struct {
	key [32]byte
	set bool
}

// Reasons for which a key is refused. None repeats the key.
var (
	errKeyBase64 = errors.New("is not base64")
	errKeyZero   = errors.New("is all zeros, which the native API reserves for devices without a key")
)

// ParseSecret reads the base64 form that ESPHome uses for api.encryption.key.
// The error never repeats the key.
func ParseSecret(s string) (Secret, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	if err != nil {
		return Secret{}, errKeyBase64
	}
	if len(b) != 32 {
		return Secret{}, fmt.Errorf("has %d bytes where 32 are wanted", len(b))
	}
	k := Secret{key: [32]byte(b), set: true}
	if k.key == ([32]byte{}) {
		return Secret{}, errKeyZero
	}
	return k, nil
}

// IsSet reports whether there is a key.
func (s Secret) IsSet() bool { return s.set }

// Key gives the key; all zeros if there is none.
func (s Secret) Key() [32]byte { return s.key }

// String gives a placeholder.
func (s Secret) String() string { return placeholder(s.set) }

// Format gives a placeholder whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue gives a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText gives a placeholder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Password is the API password of firmware up to 2025, or "". It never shows itself, as Secret.
type Password struct{ value string }

// NewPassword hides s.
func NewPassword(s string) Password { return Password{s} }

// IsSet reports whether there is a password.
func (p Password) IsSet() bool { return p.value != "" }

// Reveal gives the password itself.
func (p Password) Reveal() string { return p.value }

// String gives a placeholder.
func (p Password) String() string { return placeholder(p.IsSet()) }

// Format gives a placeholder whatever the verb.
func (p Password) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

// LogValue gives a placeholder.
func (p Password) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText gives a placeholder.
func (p Password) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

func placeholder(set bool) string {
	if set {
		return redacted
	}
	return ""
}
