package capture

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/h4"
)

// maxFakes bounds the addresses that are remembered; they come out the same again.
const maxFakes = 16384

// redactor gives addresses others in their place, the same for the same address within one capture.
type redactor struct {
	key   [16]byte
	known map[ble.Address]*fake
}

// fake is an address, and how what it stands for is written in values: each pattern with what takes its place, of the
// same length.
type fake struct {
	address  ble.Address
	patterns [][2][]byte
}

func newRedactor() *redactor {
	f := &redactor{known: map[ble.Address]*fake{}}
	_, _ = rand.Read(f.key[:]) // never fails
	return f
}

// of gives the fake of an address. The two bits that tell the kind of a random address stay.
func (f *redactor) of(a ble.Address) *fake {
	if k := f.known[a]; k != nil {
		return k
	}
	if len(f.known) >= maxFakes {
		clear(f.known)
	}
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(f.key[:], uint64(a)))
	const kind = ble.Address(3) << 46
	k := &fake{address: ble.AddressFromWire(binary.BigEndian.Uint64(sum[:]))&^kind | a&kind}
	k.patterns = patterns(a, k.address)
	f.known[a] = k
	return k
}

// patterns lists how an address may stand in a value, the longest first: whole or its lower half, in either order of
// bytes, or as text, of which names often have the last two or three bytes.
func patterns(a, by ble.Address) (out [][2][]byte) {
	old, repl := h4.AppendAddress(nil, a), h4.AppendAddress(nil, by) // the least significant byte first
	reversed := func(b []byte) []byte {
		r := bytes.Clone(b)
		slices.Reverse(r)
		return r
	}
	text := func(s, t string) {
		out = append(out, [2][]byte{[]byte(s), []byte(t)}, [2][]byte{[]byte(strings.ToLower(s)), []byte(strings.ToLower(t))})
	}
	text(a.String(), by.String())
	text(a.Dashed(), by.Dashed())
	for _, n := range []int{6, 3, 2} {
		o, r := reversed(old[:n]), reversed(repl[:n])
		text(strings.ToUpper(hex.EncodeToString(o)), strings.ToUpper(hex.EncodeToString(r)))
		if n > 2 { // two bytes are often something else
			out = append(out, [2][]byte{o, r}, [2][]byte{old[:n], repl[:n]})
		}
	}
	return out
}

// hide replaces the address in a value. It returns b itself where there is nothing to hide.
func (k *fake) hide(b []byte) []byte {
	for _, p := range k.patterns {
		if bytes.Contains(b, p[0]) {
			b = bytes.ReplaceAll(b, p[0], p[1])
		}
	}
	return b
}
