package smp

import (
	"crypto/subtle"
	"errors"

	"bluez-esphome/internal/ble"
)

// Encrypt has the host encrypt its link, by LE Enable Encryption with rand, ediv and ltk as they are in the command.
// done is called once with the status of Encryption Change, perhaps from within; not if the link ends before. With the
// key of the pairing that is going on it succeeds at once. With the key of an earlier link the proxy encrypts its link
// again first.
func (r *Responder) Encrypt(rand [8]byte, ediv uint16, ltk [16]byte, done func(status byte)) {
	given := Key{LTK: ltk, EDIV: ediv, Rand: rand}
	switch {
	case r.closed:
	case r.restarting != nil:
		done(statusDisallowed)
	case r.phase == encrypt && same(given, Key{LTK: ble.LTK(r.key.wire())}):
		r.encrypted(done)
	default:
		r.encryptAgain(given, done)
	}
}

func same(a, b Key) bool {
	return a.EDIV == b.EDIV && a.Rand == b.Rand && subtle.ConstantTimeCompare(a.LTK[:], b.LTK[:]) == 1
}

// encrypted ends a pairing.
func (r *Responder) encrypted(done func(status byte)) {
	r.cfg.Attempts.succeeded(r.cfg.Responder.Address)
	if r.secure() && r.response[3]&authBonding != 0 {
		r.cfg.Keys.SetKey(r.cfg.Responder.Address, Key{LTK: ble.LTK(r.key.wire()), Secure: true})
	}
	done(StatusSuccess)
	if r.closed {
		return
	}
	if !r.secure() {
		r.distribute()
	}
	r.leave(idle)
}

// encryptAgain encrypts with the key of an earlier link.
func (r *Responder) encryptAgain(given Key, done func(status byte)) {
	if r.phase != idle && r.phase != dead { // a pairing that the host does not go on with
		r.hostFailed()
	}
	kept, ok := r.cfg.Keys.Key(r.cfg.Responder.Address)
	if !ok || !same(given, kept) {
		r.cfg.Log.Info("the host has a key that it was not given here: it has to pair again", "device", r.cfg.Responder.Address)
		done(StatusKeyMissing)
		return
	}
	over := false
	end := func(status byte) {
		over = true
		r.restarting()
		r.restarting = nil
		done(status)
	}
	r.restarting = r.cfg.After(pairWait, func() {
		if !over && !r.closed {
			r.cfg.Cancel()
			end(statusResponseTimeout)
		}
	})
	r.cfg.Pair(func(err error) {
		if over || r.closed || errors.Is(err, ble.ErrNotConnected) { // then the link's end follows
			return
		}
		if err != nil {
			r.cfg.Log.Info("the proxy did not encrypt the link again", "device", r.cfg.Responder.Address, "error", err)
		}
		end(statusOf(err))
	})
}
