package smp

import (
	"io"
	"log/slog"
	"time"

	"bluez-esphome/internal/ble"
)

// Peer is one end of a link as the host knows it; Type is ble.Public or ble.Random.
type Peer struct {
	Address ble.Address
	Type    ble.AddressType
}

// Config is what one Responder, for one link of one host, is made of. Nothing may be nil but where it says so.
type Config struct {
	Initiator Peer // the host: the controller's public address, or the random one that it set (LE Set Random Address)
	Responder Peer // the peripheral, with the address and type of LE Create Connection
	// Send passes one SMP PDU to the host. It does not block. The PDU is not modified afterwards.
	Send func(pdu []byte)
	// Pair has the proxy pair with the peripheral, or encrypt the link again with the bond that it has. done is called
	// later, never from within; nil means that the link is encrypted. An error is a *ble.PairError, or wraps
	// ble.ErrNotSupported if the proxy cannot pair at all, or ble.ErrNotConnected.
	Pair func(done func(error))
	// Cancel calls Pair off: the host gave up, or it takes too long (links.Links.CancelConnect). nil: it cannot be
	// called off.
	Cancel func()
	// After calls f once d has passed, unless stop was called first.
	After func(d time.Duration, f func()) (stop func())
	// Keys outlive the link.
	Keys Keys
	// Attempts is that of the host, for all its links; nil is one of this link alone.
	Attempts *Attempts
	// Rand gives nonces and private keys; nil is crypto/rand.Reader.
	Rand io.Reader
	Log  *slog.Logger
}

// Keys keeps the keys towards one host, by peripheral. Its methods do not block.
type Keys interface {
	Key(peer ble.Address) (Key, bool)
	SetKey(peer ble.Address, k Key)
}

// Key is what a host encrypts a link with that it paired in an earlier one.
type Key = ble.HostKey

// What package hci calls of a Responder, which New(cfg Config) *Responder makes when the host is told that it is
// connected:
//
//	Receive(pdu []byte)
//		takes one PDU of the host. pdu is valid only during the call.
//	Encrypt(rand [8]byte, ediv uint16, ltk [16]byte, done func(status byte))
//		is the host's LE Enable Encryption: with the key of the pairing that just ended, or with one that is kept, which has the
//		proxy pair first. done is called once, from within or later, with an HCI status; the host is told by
//		an Encryption Change. The keys of a legacy pairing are sent after done(StatusSuccess). Pair is called although the proxy's
//		link may not be up yet: it waits for that.
//	Close()
//		the link ended: nothing is sent or done any more.
