package ble

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// UUID is a 128-bit UUID in canonical (big-endian) byte order. It is
// comparable and may be a map key.
type UUID [16]byte

// baseUUID is the Bluetooth base UUID; 16- and 32-bit UUIDs replace its first four bytes.
var baseUUID = UUID{0, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0x80, 0x5f, 0x9b, 0x34, 0xfb}

// UUID16 expands a 16-bit UUID.
func UUID16(v uint16) UUID { return UUID32(uint32(v)) }

// UUID32 expands a 32-bit UUID.
func UUID32(v uint32) UUID {
	u := baseUUID
	binary.BigEndian.PutUint32(u[:4], v)
	return u
}

// UUIDFromHalves joins the native API's two 64-bit halves.
func UUIDFromHalves(high, low uint64) UUID {
	var u UUID
	binary.BigEndian.PutUint64(u[:8], high)
	binary.BigEndian.PutUint64(u[8:], low)
	return u
}

// Halves splits u into the native API's two 64-bit halves.
func (u UUID) Halves() (high, low uint64) {
	return binary.BigEndian.Uint64(u[:8]), binary.BigEndian.Uint64(u[8:])
}

// Short returns the 32-bit value of a UUID on the Bluetooth base.
func (u UUID) Short() (uint32, bool) {
	v := binary.BigEndian.Uint32(u[:4])
	return v, u == UUID32(v)
}

// String gives the lower-case 36-character form.
func (u UUID) String() string {
	var b [36]byte
	return string(u.Append(b[:0]))
}

// Append appends the form of String.
func (u UUID) Append(b []byte) []byte {
	for i, part := range [...][]byte{u[0:4], u[4:6], u[6:8], u[8:10], u[10:16]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b
}

// ParseUUID reads a UUID as BlueZ does: 36 characters in either case, or 4 or
// 8 hexadecimal digits with or without 0x.
func ParseUUID(s string) (UUID, error) {
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
		if err == nil && len(b) == 16 {
			return UUID(b), nil
		}
	}
	short := strings.TrimPrefix(s, "0x")
	if len(short) == 4 || len(short) == 8 {
		if v, err := strconv.ParseUint(short, 16, 32); err == nil {
			return UUID32(uint32(v)), nil
		}
	}
	return UUID{}, fmt.Errorf("cannot parse UUID %q: want 4, 8 or 36 characters", s)
}

// MarshalText writes the 36-character form.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads any form of ParseUUID.
func (u *UUID) UnmarshalText(b []byte) error {
	v, err := ParseUUID(string(b))
	if err == nil {
		*u = v
	}
	return err
}
