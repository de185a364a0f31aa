package att

import (
	"log/slog"
	"time"

	"bluez-esphome/internal/ble"
)

// Config is what one Server, for one link of one host, is made of. No function may be nil.
type Config struct {
	// Peer is the peripheral, as the host calls it.
	Peer ble.Address
	// Send passes one ATT PDU to the host, at most MTU bytes. It does not block. The PDU is not modified afterwards.
	Send func(pdu []byte)
	// Do runs one operation on the link, in the order of the calls (links.Links.Do). done is called later, never from
	// within. A write of a Client Characteristic Configuration goes this way too: it says what this host wants, and
	// Server.Notified is called from then on.
	Do func(op ble.Operation, done func(value []byte, err error))
	// After calls f once d has passed, unless stop was called first.
	After func(d time.Duration, f func()) (stop func())
	// End ends the link towards the host with an HCI reason, such as 0x13. Close follows, not from within.
	End func(reason byte)
	// Seen is the table that this host was given of the peripheral last, in an earlier link or run.
	Seen Seen
	// SetSeen keeps another one. It does not block.
	SetSeen func(Seen)
	Log     *slog.Logger
}

// Seen is what a host knows of a peripheral from an earlier link: with it, a host whose cache is wrong is told so.
type Seen = ble.Seen

// What package hci calls of a Server, which New(cfg Config) *Server makes when the host is told that it is connected,
// maybe before the proxy's link is up:
//
//	Receive(pdu []byte, taken func())
//		takes one PDU of the host. pdu is valid only during the call. taken is called once when the host may send the next
//		packet: from within, or for a Write Command once the link took it. What needs the table waits for Resolved.
//	Resolved(db *ble.Database, mtu int)
//		the table is known; what was held is answered. mtu is the ATT_MTU of the proxy's link, ble.MinMTU…ble.MaxMTU.
//	Notified(valueHandle uint16, value []byte)
//		a notification or an indication from the air (links.Events).
//	DatabaseChanged(db *ble.Database)
//		the peripheral changed its table while it was connected (links.Events).
//	Unsubscribed(valueHandle uint16)
//		the configuration of a characteristic is 0 again without the host's doing (links.Events).
//	Close()
//		the link ended: nothing is answered any more, held PDUs are given up, taken is not called for them.
