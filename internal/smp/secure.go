package smp

import (
	"crypto/ecdh"
	"slices"
)

// LE Secure Connections with Just Works (Bluetooth Core, Vol 3 Part H, 2.3.5.6).

const coordinate = 32 // bytes

func (r *Responder) publicKeyGiven(pdu []byte) {
	x, y := reversed(pdu[1:1+coordinate]), reversed(pdu[1+coordinate:])
	// uncompressed; refused if it is not on the curve
	host, err := ecdh.P256().NewPublicKey(slices.Concat([]byte{4}, x, y))
	if err != nil {
		r.fail(ReasonInvalid)
		return
	}
	r.private, err = r.makeKey()
	if err != nil {
		r.cfg.Log.Error("cannot make a key", "error", err)
		r.fail(ReasonUnspecified)
		return
	}
	r.dhKey, err = r.private.ECDH(host)
	if err != nil {
		r.fail(ReasonInvalid)
		return
	}
	r.public = x
	r.noise(r.mine[:])
	own := r.private.PublicKey().Bytes()[1:]
	r.await(nonce)
	r.cfg.Send(slices.Concat([]byte{codePublicKey}, reversed(own[:coordinate]), reversed(own[coordinate:])))
	r.cfg.Send(append([]byte{codeConfirm}, f4(own[:coordinate], x, r.mine, 0).wire()...))
}

func (r *Responder) nonceGiven(pdu []byte) {
	r.theirs = fromWire(pdu[1:])
	r.macKey, r.key = f5(r.dhKey, r.theirs, r.mine, r.cfg.Initiator, r.cfg.Responder)
	r.await(check)
	r.cfg.Send(append([]byte{codeRandom}, r.mine.wire()...))
}

// ioCap is what a check value says of who made it: AuthReq, OOB and IO capability.
func ioCap(pdu []byte) [3]byte { return [3]byte{pdu[3], pdu[2], pdu[1]} }

func (r *Responder) checked(pdu []byte) {
	host, device := r.cfg.Initiator, r.cfg.Responder
	want := f6(r.macKey, r.theirs, r.mine, block128{}, ioCap(r.request), host, device)
	if !equal(fromWire(pdu[1:]), want) {
		r.failedCheck(ReasonDHKeyCheck)
		return
	}
	own := f6(r.macKey, r.mine, r.theirs, block128{}, ioCap(r.response), device, host)
	r.paired(r.key)
	r.cfg.Send(append([]byte{codeDHKeyCheck}, own.wire()...))
}

// makeKey makes a private key of a number that Rand gives. Hardly any number of 32 bytes is not one.
func (r *Responder) makeKey() (*ecdh.PrivateKey, error) {
	var number [coordinate]byte
	for again := 0; ; again++ {
		r.noise(number[:])
		k, err := ecdh.P256().NewPrivateKey(number[:])
		if err == nil || again == 3 {
			return k, err
		}
	}
}
