package smp

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
	"slices"
)

// block128 is a number of 128 bits, its most significant byte first, as the functions of Bluetooth Core, Vol 3 Part H,
// 2.2 have them.
type block128 [16]byte

// reversed is b the other way round: on the wire the least significant byte comes first.
func reversed(b []byte) []byte {
	out := slices.Clone(b)
	slices.Reverse(out)
	return out
}

// fromWire is the number that the first 16 bytes of a PDU's field are.
func fromWire(b []byte) block128 { return block128(reversed(b[:16])) }

// wire is b as a field of a PDU.
func (b block128) wire() []byte { return reversed(b[:]) }

func (b block128) xor(c block128) (out block128) {
	subtle.XORBytes(out[:], b[:], c[:])
	return out
}

// e is the security function e: AES-128 of one block.
func e(key, plain block128) (out block128) {
	c, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // a key of 16 bytes is never refused
	}
	c.Encrypt(out[:], plain[:])
	return out
}

// cmac is AES-CMAC (RFC 4493).
func cmac(key block128, msg []byte) block128 {
	k1 := double(e(key, block128{}))
	k2 := double(k1)
	var x block128
	for len(msg) > 16 {
		x = e(key, x.xor(block128(msg[:16])))
		msg = msg[16:]
	}
	var last block128
	copy(last[:], msg)
	if len(msg) == 16 {
		last = last.xor(k1)
	} else {
		last[len(msg)] = 0x80
		last = last.xor(k2)
	}
	return e(key, x.xor(last))
}

// double multiplies by x in the field of CMAC's subkeys.
func double(b block128) (out block128) {
	carry := byte(0)
	for i := len(b) - 1; i >= 0; i-- {
		out[i] = b[i]<<1 | carry
		carry = b[i] >> 7
	}
	out[15] ^= carry * 0x87
	return out
}

// c1 is the confirm value of legacy pairing (2.2.3). preq and pres are the PDUs as on the wire.
func c1(k, r block128, preq, pres []byte, initiator, responder Peer) block128 {
	p1 := slices.Concat(reversed(pres), reversed(preq), []byte{responder.kind(), initiator.kind()})
	p2 := slices.Concat(make([]byte, 4), initiator.bytes(), responder.bytes())
	return e(k, e(k, r.xor(block128(p1))).xor(block128(p2)))
}

// s1 is the Short Term Key of legacy pairing (2.2.4).
func s1(k, r1, r2 block128) block128 {
	return e(k, block128(slices.Concat(r1[8:], r2[8:])))
}

// f4 is the confirm value of Secure Connections (2.2.6). u and v are the X coordinates of public keys.
func f4(u, v []byte, x block128, z byte) block128 {
	return cmac(x, slices.Concat(u, v, []byte{z}))
}

// f5Salt is the constant of f5.
var f5Salt = block128{0x6c, 0x88, 0x83, 0x91, 0xaa, 0xf5, 0xa5, 0x38, 0x60, 0x37, 0x0b, 0xdb, 0x5a, 0x60, 0x83, 0xbe}

// f5 gives the MacKey and the Long Term Key of Secure Connections (2.2.7).
func f5(dhKey []byte, n1, n2 block128, a1, a2 Peer) (macKey, ltk block128) {
	t := cmac(f5Salt, dhKey)
	m := slices.Concat([]byte{0}, []byte("btle"), n1[:], n2[:], a1.typed(), a2.typed(), []byte{1, 0})
	macKey = cmac(t, m)
	m[0] = 1
	return macKey, cmac(t, m)
}

// f6 is the check value of Secure Connections (2.2.8).
func f6(w, n1, n2, r block128, ioCap [3]byte, a1, a2 Peer) block128 {
	return cmac(w, slices.Concat(n1[:], n2[:], r[:], ioCap[:], a1.typed(), a2.typed()))
}

func equal(a, b block128) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

// shortened is a key of size bytes: its most significant bytes are zero (2.3.4).
func (b block128) shortened(size int) block128 {
	clear(b[:16-size])
	return b
}

// bytes is the address, its most significant byte first.
func (p Peer) bytes() []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(p.Address))[2:]
}

// kind is the address type in one bit.
func (p Peer) kind() byte { return byte(p.Type) & 1 }

// typed is the address behind its type, 56 bits.
func (p Peer) typed() []byte { return append([]byte{p.kind()}, p.bytes()...) }
