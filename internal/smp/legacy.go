package smp

import (
	"io"

	"bluez-esphome/internal/ble"
)

// Legacy pairing with Just Works: the Temporary Key is 0 (Bluetooth Core, Vol 3 Part H, 2.3.5.2 and 2.3.5.5).

func (r *Responder) confirmed(pdu []byte) {
	r.pairing.confirm = fromWire(pdu[1:])
	r.noise(r.mine[:])
	r.await(random)
	r.cfg.Send(append([]byte{codeConfirm}, r.confirmValue(r.mine).wire()...))
}

func (r *Responder) confirmValue(value block128) block128 {
	return c1(block128{}, value, r.request, r.response, r.cfg.Initiator, r.cfg.Responder)
}

func (r *Responder) randomGiven(pdu []byte) {
	theirs := fromWire(pdu[1:])
	if !equal(r.confirmValue(theirs), r.pairing.confirm) {
		r.failedCheck(ReasonConfirm)
		return
	}
	mine := r.mine
	r.paired(s1(block128{}, mine, theirs))
	r.cfg.Send(append([]byte{codeRandom}, mine.wire()...))
}

// distribute gives the host the Long Term Key that it asked for, once the link is encrypted with the short one.
func (r *Responder) distribute() {
	if r.response[6]&keyEncryption == 0 {
		return
	}
	var key block128
	var k Key
	var ediv [2]byte
	r.noise(key[:])
	r.noise(ediv[:])
	r.noise(k.Rand[:])
	k.LTK = ble.LTK(key.shortened(r.keySize).wire())
	k.EDIV = uint16(ediv[0]) | uint16(ediv[1])<<8
	// Rand and EDIV of 0 would say Secure Connections.
	k.EDIV = max(k.EDIV, 1)
	r.cfg.Send(append([]byte{codeEncryption}, k.LTK[:]...))
	r.cfg.Send(append([]byte{codeCentralID, byte(k.EDIV), byte(k.EDIV >> 8)}, k.Rand[:]...))
	r.cfg.Keys.SetKey(r.cfg.Responder.Address, k)
}

// noise fills b with random bytes.
func (r *Responder) noise(b []byte) {
	if _, err := io.ReadFull(r.cfg.Rand, b); err != nil {
		panic(err) // crypto/rand does not fail
	}
}
