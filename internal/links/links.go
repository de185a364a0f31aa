package links

import (
	"context"
	"errors"

	"bluez-esphome/internal/ble"
)

// Links is one party's hold on links to peripherals, and what it may do with them. A link that other parties hold too
// is shared: it ends when the last one lets go. done is called once. Errors are those of package ble, or have a code of
// the proxy's own stack (GATTCode).
type Links interface {
	// Connect brings the link up, or joins it. via restricts it to the proxy of that name; empty is any. Without a link it
	// fails with a *ble.ConnectError, or with ble.ErrCanceled if it was called off.
	Connect(a ble.Address, t ble.AddressType, via string, done func(error))
	// CancelConnect calls off what this party has pending: Connect, or Pair. Both fail with ble.ErrCanceled.
	CancelConnect(a ble.Address)
	// Disconnect lets go of the link, or of the attempt at one.
	Disconnect(a ble.Address, done func())
	// Do runs one GATT operation. The value is nil unless the operation reads. Without a link of this party it fails with
	// ble.ErrNotConnected. A write of a Client Characteristic Configuration says what this party wants: what stands there
	// is the union of what all parties want, Subscribe included, so that none ends the notifications of another.
	Do(a ble.Address, op ble.Operation, done func(value []byte, err error))
	// Subscribe enables notifications of the characteristic with that value handle, indications if it cannot notify;
	// Unsubscribe ends them, unless another party wants them.
	Subscribe(a ble.Address, valueHandle uint16, done func(error))
	Unsubscribe(a ble.Address, valueHandle uint16)
	// Listen has the proxy pass on what the characteristic with that value handle notifies, or no longer. It writes
	// nothing: whether the peripheral notifies is what its Client Characteristic Configuration says. Subscribe does both.
	Listen(a ble.Address, valueHandle uint16, on bool, done func(error))
	// Pair pairs over the link that is up; done(nil) means bonded. A failure is a *ble.PairError.
	Pair(a ble.Address, done func(error))
	// Unpair has the proxy of that name drop its bond and waits for the answer; empty is the proxy that has one. This,
	// ClearCache and SetConnectionParams may fail with an error that wraps ErrInUse.
	Unpair(ctx context.Context, a ble.Address, proxy string) error
	// Forget drops the bond, the cached database and this party's subscriptions. A proxy that is offline is told later.
	Forget(a ble.Address)
	// DropCache drops the cached database here, before it returns: a Connect that follows lists the services anew. Where
	// ClearCache fails with ErrInUse it does nothing.
	DropCache(a ble.Address)
	// ClearCache drops the cached database here and, where the proxy can, there. It reports whether all of them did.
	ClearCache(ctx context.Context, a ble.Address) (cleared bool, err error)
	// SetConnectionParams asks for other parameters of the link that is up; an error may wrap ble.ErrInvalid.
	SetConnectionParams(ctx context.Context, a ble.Address, p ble.ConnectionParams) error
	// Close lets go of everything. Calls of Connect that are pending fail with ble.ErrCanceled.
	Close()
}

// Events is what a party is told of the links that it holds.
type Events interface {
	// LinkUp: the link came up, and next this party's Connect is answered. mtu is the ATT_MTU, ble.MinMTU…ble.MaxMTU.
	LinkUp(a ble.Address, mtu int)
	// Resolved: the GATT database is known, and what this party subscribed is armed again.
	Resolved(a ble.Address, db *ble.Database, mtu int)
	// LinkDown: the link ended. It comes once for each LinkUp.
	LinkDown(a ble.Address, reason ble.DisconnectReason)
	// Notified: a notification or an indication of a characteristic that this party subscribed or listens to. value may be
	// kept.
	Notified(a ble.Address, valueHandle uint16, value []byte)
	// DatabaseChanged: the peripheral changed its database while it was connected.
	DatabaseChanged(a ble.Address, db *ble.Database)
	// Paired: the peripheral was paired, or lost its bond, without this party having asked. It needs no link: a bond is
	// the peripheral's, whoever made it.
	Paired(a ble.Address, bonded bool)
	// Unsubscribed: a characteristic that this party subscribed on an earlier link could not be enabled again, and is not
	// subscribed any more. It comes before Resolved, or any time after it if the party joined the link of another.
	Unsubscribed(a ble.Address, valueHandle uint16, err error)
}

// ErrInUse: what was asked for would change what another party holds or bonded.
var ErrInUse = errors.New("another party uses the device")
