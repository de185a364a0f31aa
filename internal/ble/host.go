package ble

import (
	"encoding/hex"
	"errors"
)

// LTK is a Long Term Key (Bluetooth Core, Vol 3 Part H, 2.4.1), its bytes in the order of the wire. It prints without
// its value.
type LTK [16]byte

func (LTK) String() string { return "(key)" }

// GoString keeps %#v from showing the key.
func (LTK) GoString() string { return "(key)" }

// MarshalText writes it in hexadecimal, for the file of the state.
func (k LTK) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(k[:])), nil }

// UnmarshalText reads what MarshalText wrote.
func (k *LTK) UnmarshalText(b []byte) error {
	if len(b) != 2*len(k) {
		return errors.New("a key must have 32 hexadecimal digits")
	}
	_, err := hex.Decode(k[:], b)
	return err
}

// HostKey is the key with which a host of a virtual controller encrypts a link that it paired in an earlier one
// (Bluetooth Core, Vol 3 Part H, 2.4). Octets are in the order of the wire. With Secure Connections EDIV and Rand are
// 0.
type HostKey struct {
	LTK  LTK     `json:"ltk"`
	EDIV uint16  `json:"ediv,omitempty"`
	Rand [8]byte `json:"rand,omitzero"`
	// Secure: made by Secure Connections.
	Secure bool `json:"secure,omitempty"`
}

// Seen is what a host was told of a peripheral's database.
type Seen struct {
	// Services are those whose characteristics the host was given, by handle. The slice is not modified.
	Services []SeenService `json:"services,omitempty"`
	// Changes: the host once enabled Service Changed.
	Changes bool `json:"changes,omitempty"`
}

// SeenService is one of them.
type SeenService struct {
	Handle uint16 `json:"handle"`
	Last   uint16 `json:"last"` // its last attribute
	Hash   uint64 `json:"hash"` // of all that was told of it
}
