package smp

import (
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

const (
	// pairWait is how long the proxy has to pair: a host waits 30 s for each PDU and for encryption.
	pairWait = 25 * time.Second
	// pduWait is how long the host has for each PDU (Bluetooth Core, Vol 3 Part H, 3.4).
	pduWait = 30 * time.Second
)

// phase is what a Responder waits for.
//
//	idle ─01▶ proxy ─paired─┬▶ confirm ─03▶ random ─04─────────────┬▶ encrypt ─Encrypt▶ idle
//	                        └▶ publicKey ─0c▶ nonce ─04▶ check ─0d─┘
//	any of them ─ time-out ▶ dead
type phase uint8

const (
	idle      phase = iota
	proxy           // the proxy pairs
	confirm         // legacy: the host's confirm value
	random          // legacy: the host's random value
	publicKey       // Secure Connections: the host's public key
	nonce           // the host's nonce
	check           // the host's DHKey check
	encrypt         // encryption with the new key
	dead            // the host let a time-out pass: no more pairing on this link (3.4)
)

// Responder pairs one host over one link.
type Responder struct {
	cfg    Config
	phase  phase
	closed bool
	stop   func() // of the phase's time-out
	turn   int    // counts phases, so that what comes late is known
	pairing
	restarting func() // ends the time-out of an encryption with an earlier key; nil if there is none

}

// pairing is what one pairing knows.
type pairing struct {
	request, response []byte
	keySize           int
	key               block128 // the STK, or with Secure Connections the LTK; of phase encrypt
	confirm           block128 // legacy: the host's
	mine, theirs      block128 // random values
	private           *ecdh.PrivateKey
	public            []byte // the host's X coordinate
	dhKey             []byte
	macKey            block128
}

func (p *pairing) secure() bool { return p.response[3]&authSecure != 0 }

// New returns the responder of a link that begins.
func New(cfg Config) *Responder {
	if cfg.Cancel == nil {
		cfg.Cancel = func() {}
	}
	if cfg.Attempts == nil {
		cfg.Attempts = &Attempts{}
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	return &Responder{cfg: cfg, stop: func() {}}
}

// Lost is called when the link is lost, before Close: a pairing that is going on fails, and the host is told. The kernel
// tells bluetoothd nothing of a pairing whose link ended, so that Pair would never return.
func (r *Responder) Lost() {
	if !r.closed && r.phase != idle && r.phase != dead {
		r.fail(ReasonUnspecified)
	}
}

// Close ends it with its link: nothing is sent or called any more.
func (r *Responder) Close() {
	if r.closed {
		return
	}
	r.closed = true
	r.stop()
	if r.restarting != nil {
		r.restarting()
	}
	r.pairing = pairing{}
}

// enter begins a phase, which ends after d whatever the host does.
func (r *Responder) enter(p phase, d time.Duration, expired func()) {
	r.stop()
	r.phase = p
	r.turn++
	turn := r.turn
	r.stop = r.cfg.After(d, func() {
		if r.turn == turn && !r.closed {
			expired()
		}
	})
}

// await begins a phase in which it is the host's turn.
func (r *Responder) await(p phase) {
	r.enter(p, pduWait, func() {
		r.cfg.Log.Warn("the host did not go on with pairing: it cannot pair on this link any more")
		r.leave(dead)
	})
}

// leave ends the pairing.
func (r *Responder) leave(p phase) {
	r.stop()
	r.stop = func() {}
	r.phase = p
	r.turn++
	r.pairing = pairing{}
}

// fail ends the pairing and tells the host why.
func (r *Responder) fail(why Reason) {
	r.leave(idle)
	r.cfg.Send([]byte{codeFailed, byte(why)})
}

// Receive takes one PDU of the host, which it does not keep.
func (r *Responder) Receive(pdu []byte) {
	if r.closed || r.phase == dead || len(pdu) == 0 {
		return
	}
	length, known := lengths[pdu[0]]
	switch {
	case pdu[0] == codeFailed:
		r.hostFailed()
	case !known:
		r.unknown()
	case len(pdu) != length:
		r.refuse(ReasonInvalid)
	case pdu[0] == codeRequest && r.phase == idle:
		r.requested(pdu)
	case pdu[0] == codeConfirm && r.phase == confirm:
		r.confirmed(pdu)
	case pdu[0] == codeRandom && r.phase == random:
		r.randomGiven(pdu)
	case pdu[0] == codePublicKey && r.phase == publicKey:
		r.publicKeyGiven(pdu)
	case pdu[0] == codeRandom && r.phase == nonce:
		r.nonceGiven(pdu)
	case pdu[0] == codeDHKeyCheck && r.phase == check:
		r.checked(pdu)
	case r.phase != idle:
		r.refuse(ReasonUnspecified) // out of turn
	}
	// Keys that come when nothing is going on are what the host distributes though nobody asked: they are dropped.
}

// refuse ends what is going on, and the proxy's part in it.
func (r *Responder) refuse(why Reason) {
	if r.phase == proxy {
		r.cfg.Cancel()
	}
	r.fail(why)
}

func (r *Responder) unknown() {
	if r.phase == idle {
		r.cfg.Send([]byte{codeFailed, byte(ReasonCommand)})
		return
	}
	r.refuse(ReasonCommand)
}

// hostFailed: the host gave up.
func (r *Responder) hostFailed() {
	if r.phase == proxy {
		r.cfg.Cancel()
	}
	if r.phase != idle {
		r.leave(idle)
	}
}

// requested takes a Pairing Request: the proxy pairs before it is answered.
func (r *Responder) requested(pdu []byte) {
	capability, oob, auth, size := pdu[1], pdu[2], pdu[3], pdu[4]
	secure := auth & authSecure
	switch {
	case capability > maxCapability || oob > 1 || auth&authBondingMask > authBonding || size > maxKey:
		r.fail(ReasonInvalid)
		return
	case size < minKey:
		r.fail(ReasonKeySize)
		return
	case oob == 1 && secure != 0: // with it alone Secure Connections would use what nobody has
		r.fail(ReasonOOB)
		return
	case r.cfg.Attempts.tooSoon(r.cfg.Responder.Address):
		r.fail(ReasonRepeated)
		return
	}
	bonding, keys := auth&authBonding, byte(0)
	if bonding != 0 && secure == 0 {
		keys = pdu[6] & keyEncryption
	}
	request := slices.Clone(pdu)
	response := []byte{codeResponse, capNoInput, 0, bonding | secure, maxKey, 0, keys}
	r.enter(proxy, pairWait, func() {
		r.cfg.Cancel()
		r.fail(ReasonUnspecified)
	})
	turn := r.turn
	r.cfg.Pair(func(err error) {
		switch {
		case r.closed || r.turn != turn, errors.Is(err, ble.ErrNotConnected): // then the link's end follows
			return
		case err != nil:
			r.cfg.Log.Info("the proxy did not pair", "error", err)
			var pe *ble.PairError
			if errors.As(err, &pe) {
				r.cfg.Attempts.failed(r.cfg.Responder.Address)
			}
			r.fail(reasonOf(err))
			return
		}
		r.pairing = pairing{request: request, response: response, keySize: int(size)}
		if secure != 0 {
			r.await(publicKey)
		} else {
			r.await(confirm)
		}
		r.cfg.Send(response)
	})
}

// paired ends a pairing that the host and we agree on but for encryption with key.
func (r *Responder) paired(key block128) {
	r.key = key.shortened(r.keySize)
	r.await(encrypt)
}

// failedCheck: the host does not know what it should.
func (r *Responder) failedCheck(why Reason) {
	r.cfg.Attempts.failed(r.cfg.Responder.Address)
	r.fail(why)
}
