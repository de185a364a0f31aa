package hci

import (
	"log/slog"
	"time"

	"bluez-esphome/internal/att"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/smp"
)

// Config is what one Controller is made of. No function may be nil.
type Config struct {
	Name      string      // for log and status: its transport
	Address   ble.Address // public, locally administered, the same in every run
	Transport Transport
	// Links makes the controller's hold on links: one for each run of a host, that is, until its Reset or its end. It is
	// called with the controller's lock held.
	Links func(links.Events) links.Links
	Air   Air
	Store Store
	// NewATT and NewSMP make what answers channels 4 and 6 of one link.
	NewATT func(att.Config) ATT
	NewSMP func(smp.Config) Security
	// WishChanged: Controller.Wish may have changed. It must not block and not call the controller before it returned.
	WishChanged func()
	Log         *slog.Logger
}

// Air is what the controller's radio, its proxies, knows. Its methods are goroutine-safe and do not block.
type Air interface {
	// Last is the newest advertisement of a device and when it was heard. The data is not modified.
	Last(a ble.Address) (raw ble.RawAdvert, at time.Time, ok bool)
	// Passive reports whether one of them scans passively still and will scan actively if that is wished.
	Passive() bool
	// Linked reports whether some party holds the link to a: then it does not advertise, and can be joined.
	Linked(a ble.Address) bool
	// Via is the proxy through which a link to a is to be made, empty for any (links.Links.Connect).
	Via(a ble.Address) string
	// Full reports whether all proxies are known to have no free connection slot.
	Full() bool
}

// Store keeps what a host knows of peripherals, by peripheral.
type Store interface {
	smp.Keys
	Seen(peer ble.Address) ble.Seen
	SetSeen(peer ble.Address, s ble.Seen)
}

// ATT answers channel 4 of one link; package att says how it is called.
type ATT interface {
	Receive(pdu []byte, taken func())
	Resolved(db *ble.Database, mtu int)
	Notified(valueHandle uint16, value []byte)
	DatabaseChanged(db *ble.Database)
	Unsubscribed(valueHandle uint16)
	Close()
}

// Security answers channel 6 of one link; package smp says how it is called.
type Security interface {
	Receive(pdu []byte)
	Encrypt(rand [8]byte, ediv uint16, ltk [16]byte, done func(status byte))
	Lost()
	Close()
}
