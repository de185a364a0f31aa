package gatt

import (
	"context"

	"bluez-esphome/internal/ble"
)

// Proxy is what this package needs of one proxy's session; apiconn implements
// it. Every call returns an error that wraps ble.ErrNotConnected when the
// session or the link is gone, ble.ErrTimeout when no answer came in time, a
// ble.ATTError for an ATT error of the peripheral, or an error of the proxy's
// own stack. Calls of one link are made one after another in order, except that Do
// returns once the request is queued where the peripheral does not answer (ble.OpWriteCommand).
type Proxy interface {
	// ID tells the proxy from all others. It stays the same over reconnects and restarts; records and bonds go by it, and
	// it is never what the proxy calls itself. Name is for messages.
	ID() string
	Name() string
	// Online reports whether a session is up.
	Online() bool
	// Features are the flags of the present or last session.
	Features() ble.Features
	// Version is the ESPHome version of the present or last session, for messages.
	Version() string
	// Slots is the newest message 81 of the present session.
	Slots() ble.Slots

	// Connect asks for a link and waits for the answer (messages 68, 69): nil once it is up, with the MTU that was
	// reported (23 with cached). Without cached the proxy drops its own database of the device before, where it can: it
	// keeps one over restarts and for whoever connected through it, and would list that, whatever the peripheral has now
	// (ESPHome, esp32_ble cache_services). When ctx ends first, the attempt is called off.
	Connect(ctx context.Context, a ble.Address, t ble.AddressType, cached bool) (mtu int, err error)
	// Disconnect ends a link or an attempt and waits for the report of it.
	Disconnect(ctx context.Context, a ble.Address) error
	// Services streams the GATT database (messages 70 to 72). Service.EndHandle and
	// Characteristic.Handle are left zero: the wire does not carry them.
	Services(ctx context.Context, a ble.Address) ([]ble.Service, error)
	// Do runs one GATT operation and waits for the peripheral's answer; the value is nil unless it reads.
	Do(ctx context.Context, a ble.Address, op ble.Operation) ([]byte, error)
	// Notify registers for notifications at the proxy; the CCCD is the caller's affair.
	Notify(ctx context.Context, a ble.Address, handle uint16, enable bool) error
	Pair(ctx context.Context, a ble.Address) error
	Unpair(ctx context.Context, a ble.Address) error
	ClearCache(ctx context.Context, a ble.Address) error
	SetConnectionParams(ctx context.Context, a ble.Address, p ble.ConnectionParams) error
}

// Starter is a Proxy that can begin a request without anybody waiting for the answer, which saves waking a goroutine
// for the request and another for the answer. done is called once, from any goroutine and without locks held, perhaps
// before the call returns. ok is false, and done is not called, where the request cannot be sent at once. After cancel
// done is not called, unless it was already.
type Starter interface {
	Begin(a ble.Address, op ble.Operation, done func([]byte, error)) (cancel func(), ok bool)
}

// An MTUTeller is a Proxy that tells the MTU of a link that is up, with firmware from ESPHome 2026.8 on.
type MTUTeller interface {
	LinkMTU(ctx context.Context, a ble.Address, t ble.AddressType) (mtu int, err error)
}

// ConnectResultError is how a Proxy reports an attempt that the proxy answered with
// connected=false. Code is message 69's error: an HCI or GATT code, 0 with no slot.
type ConnectResultError interface {
	error
	ConnectCode() int32
}
