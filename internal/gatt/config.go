package gatt

import (
	"log/slog"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
)

// Air tells who hears a device. Its method is goroutine-safe and does not block.
type Air interface {
	Paths(a ble.Address) []Path
}

// Path is one proxy that hears a device.
type Path struct {
	Proxy     string // its ID
	RSSI      int    // dBm; ble.KnownRSSI tells whether it is known
	LastHeard time.Time
	// Interval is the device's advertising interval as the proxy hears it, 0 unknown.
	Interval time.Duration
	Type     ble.AddressType // what the proxy mostly reports of it
}

// Rule restricts the proxies that may be used for one device. It has their IDs.
type Rule struct {
	Pin    string   // only this one, unless empty
	Prefer []string // these first, in this order
	Deny   []string // never these
}

// NoSlot is what to do when a proxy has no free connection slot.
type NoSlot uint8

// What to do without a free slot.
const (
	NoSlotWait    NoSlot = iota // wait for one, at most Config.SlotWait; guests do not, as with the proxy itself
	NoSlotFail                  // fail at once
	NoSlotWaitAll               // wait, guests too
)

// Config configures a Manager. Zero durations mean the defaults.
type Config struct {
	Air    Air          // must not be nil
	Events links.Events // must not be nil
	Store  Store        // nil: kept in memory only

	Timeout  time.Duration // whole Connect, 20 s
	PerPath  time.Duration // one proxy while another one remains, 8 s
	SlotWait time.Duration // for a free slot within one Connect, 5 s

	Rules    func(a ble.Address) Rule       // nil: none
	OnNoSlot func(proxy string) NoSlot      // nil: wait
	Expected func(a ble.Address) []ble.UUID // services that the device advertises; nil: unknown
	Name     func(a ble.Address) string     // what it says its name is, "" unknown; nil: unknown
	// Listening reports whether anybody wants advertisements, which are lost while a proxy dials; nil: yes.
	Listening func() bool
	// MayPair says whether an operation that needs security may pair by itself. A device that
	// is bonded always may. nil: any may.
	MayPair func(a ble.Address) bool
	// Used is told, in order with Events, that somebody asked for the link to a device, and that the last one let go of
	// it. It must not block; only Owners call it. nil: nobody wants to know.
	Used func(a ble.Address, used bool)
	// Measured is told what each operation took as its caller saw it, the wait in the queue included. It is called
	// from any goroutine and must not block. nil: nobody wants to know.
	Measured func(op Operation, took time.Duration, err error)
	Logger   *slog.Logger // nil: discard
}

func (c *Config) setDefaults() {
	if c.Timeout <= 0 {
		c.Timeout = 20 * time.Second
	}
	if c.PerPath <= 0 {
		c.PerPath = 8 * time.Second
	}
	if c.SlotWait <= 0 {
		c.SlotWait = 5 * time.Second
	}
	if c.Store == nil {
		c.Store = newMemoryStore()
	}
	if c.Rules == nil {
		c.Rules = func(ble.Address) Rule { return Rule{} }
	}
	if c.OnNoSlot == nil {
		c.OnNoSlot = func(string) NoSlot { return NoSlotWait }
	}
	if c.Expected == nil {
		c.Expected = func(ble.Address) []ble.UUID { return nil }
	}
	if c.Name == nil {
		c.Name = func(ble.Address) string { return "" }
	}
	if c.Listening == nil {
		c.Listening = func() bool { return true }
	}
	if c.MayPair == nil {
		c.MayPair = func(ble.Address) bool { return true }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}
