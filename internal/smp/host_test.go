package smp

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/ble"
)

// keys is a host's keys in memory.
type keys map[ble.Address]Key

func (k keys) Key(a ble.Address) (Key, bool) {
	key, ok := k[a]
	return key, ok
}

func (k keys) SetKey(a ble.Address, key Key) { k[a] = key }

// rig is a Responder with everything around it faked, and called from one goroutine. Its timers are those of package
// time, so that a test with timers runs in a synctest bubble and calls wait.
type rig struct {
	t        testing.TB
	r        *Responder
	cfg      Config
	keys     keys
	sent     []string // in hex; "status 00" is the end of an encryption
	pairs    []func(error)
	canceled int
	fired    chan func()
	paired   error // what Pair says at once; errWait: the test says it
}

var errWait = errors.New("the test answers")

func newRig(t testing.TB) *rig {
	g := &rig{t: t, keys: keys{}, fired: make(chan func(), 64)}
	g.cfg = Config{
		Initiator: vectorHost, Responder: vectorDevice, Keys: g.keys, Attempts: &Attempts{}, Log: slog.New(slog.DiscardHandler),
		Send:   func(pdu []byte) { g.sent = append(g.sent, hex.EncodeToString(pdu)) },
		Cancel: func() { g.canceled++ },
		Pair:   func(done func(error)) { g.pairs = append(g.pairs, done) },
		After: func(d time.Duration, f func()) func() {
			tm := time.AfterFunc(d, func() { g.fired <- f })
			return func() { tm.Stop() }
		},
	}
	g.link()
	return g
}

// link begins another link.
func (g *rig) link() {
	if g.r != nil {
		g.r.Close()
	}
	g.r = New(g.cfg)
	g.t.Cleanup(g.r.Close)
}

// pass lets time pass in a synctest bubble, and runs the timers that expired.
func (g *rig) pass(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
	for {
		select {
		case f := <-g.fired:
			f()
		default:
			return
		}
	}
}

// host sends a PDU, and the proxy answers what it is asked unless the test does.
func (g *rig) host(pdu ...byte) {
	b := bytes.Clone(pdu)
	g.r.Receive(b)
	clear(b) // it is valid only during the call
	g.answer()
}

func (g *rig) answer() {
	if g.paired == errWait {
		return
	}
	for _, done := range g.take() {
		done(g.paired)
	}
}

func (g *rig) take() []func(error) {
	p := g.pairs
	g.pairs = nil
	return p
}

// want checks what was sent since it was last called.
func (g *rig) want(pdus ...string) {
	g.t.Helper()
	if got, want := strings.Join(g.sent, ", "), strings.Join(pdus, ", "); got != want {
		g.t.Fatalf("sent %q, want %q", got, want)
	}
	g.sent = nil
}

// next is the next PDU that was sent, which must have that code.
func (g *rig) next(code byte) []byte {
	g.t.Helper()
	if len(g.sent) == 0 {
		g.t.Fatalf("nothing sent, want a PDU %02x", code)
	}
	b := unhex(g.t, g.sent[0])
	if b[0] != code {
		g.t.Fatalf("sent %x, want a PDU %02x", b, code)
	}
	g.sent = g.sent[1:]
	return b
}

// encrypt is the host's LE Enable Encryption.
func (g *rig) encrypt(k Key) {
	g.r.Encrypt(k.Rand, k.EDIV, k.LTK, func(status byte) { g.sent = append(g.sent, "status "+hex.EncodeToString([]byte{status})) })
	g.answer()
}

// initiator is a host that pairs, written from the specification alone beside the Responder's functions, which have
// vectors of their own.
type initiator struct {
	*rig
	request []byte
}

// begin sends the request and takes the response.
func (h *initiator) begin() (response []byte) {
	h.t.Helper()
	h.host(h.request...)
	return h.next(codeResponse)
}

// pair pairs and gives the key for encryption.
func (h *initiator) pair() Key {
	h.t.Helper()
	response := h.begin()
	if response[3]&authSecure != 0 {
		return h.secure(response, nil)
	}
	return h.legacy(response, nil)
}

func size(request []byte) int { return int(request[4]) }

// legacy goes on after the response. spoil may change what the host sends.
func (h *initiator) legacy(response []byte, spoil func(pdu []byte)) Key {
	h.t.Helper()
	send := func(pdu []byte) {
		if spoil != nil {
			spoil(pdu)
		}
		h.host(pdu...)
	}
	value := block128{1, 2, 3}
	c := c1(block128{}, value, h.request, response, h.cfg.Initiator, h.cfg.Responder)
	send(append([]byte{codeConfirm}, c.wire()...))
	theirs := fromWire(h.next(codeConfirm)[1:])
	send(append([]byte{codeRandom}, value.wire()...))
	if spoil != nil {
		return Key{}
	}
	random := fromWire(h.next(codeRandom)[1:])
	if c1(block128{}, random, h.request, response, h.cfg.Initiator, h.cfg.Responder) != theirs {
		h.t.Fatal("the responder's confirm value is not that of its random value")
	}
	return Key{LTK: ble.LTK(s1(block128{}, random, value).shortened(size(h.request)).wire())}
}

// secure goes on after the response.
func (h *initiator) secure(response []byte, spoil func(pdu []byte)) Key {
	h.t.Helper()
	send := func(pdu []byte) {
		if spoil != nil {
			spoil(pdu)
		}
		h.host(pdu...)
	}
	number := bytes.Repeat([]byte{0x42}, 32)
	private, err := ecdh.P256().NewPrivateKey(number)
	if err != nil {
		h.t.Fatal(err)
	}
	own := private.PublicKey().Bytes()[1:]
	send(slices.Concat([]byte{codePublicKey}, reversed(own[:32]), reversed(own[32:])))
	if spoil != nil && len(h.sent) == 1 { // refused
		return Key{}
	}
	k := h.next(codePublicKey)[1:]
	public, err := ecdh.P256().NewPublicKey(slices.Concat([]byte{4}, reversed(k[:32]), reversed(k[32:])))
	if err != nil {
		h.t.Fatal(err)
	}
	dh, err := private.ECDH(public)
	if err != nil {
		h.t.Fatal(err)
	}
	c := fromWire(h.next(codeConfirm)[1:])
	na := block128{9, 9, 9}
	send(append([]byte{codeRandom}, na.wire()...))
	nb := fromWire(h.next(codeRandom)[1:])
	if f4(reversed(k[:32]), own[:32], nb, 0) != c {
		h.t.Fatal("the responder's confirm value is not that of its nonce")
	}
	macKey, ltk := f5(dh, na, nb, h.cfg.Initiator, h.cfg.Responder)
	ea := f6(macKey, na, nb, block128{}, ioCap(h.request), h.cfg.Initiator, h.cfg.Responder)
	send(append([]byte{codeDHKeyCheck}, ea.wire()...))
	if spoil != nil {
		return Key{}
	}
	eb := f6(macKey, nb, na, block128{}, ioCap(response), h.cfg.Responder, h.cfg.Initiator)
	if got := fromWire(h.next(codeDHKeyCheck)[1:]); got != eb {
		h.t.Fatalf("check value %x, want %x", got, eb)
	}
	return Key{LTK: ble.LTK(ltk.shortened(size(h.request)).wire()), Secure: true}
}

// script is a Rand that gives these numbers, one after another.
func script(numbers ...[]byte) io.Reader { return bytes.NewReader(slices.Concat(numbers...)) }
