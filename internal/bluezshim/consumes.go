package bluezshim

import (
	"context"

	"bluez-esphome/internal/ble"
)

// Air is one adapter's view of what the proxies hear. Its methods are
// goroutine-safe and do not block.
type Air interface {
	// SetDiscovery sets the filters of the sessions that discover now; with none nobody discovers.
	SetDiscovery(sessions []ble.DiscoveryFilter)
	// AddMonitor starts to match m; events name it by id.
	AddMonitor(id uint64, m ble.Monitor)
	RemoveMonitor(id uint64)
	// Changed has a value when Take has reports.
	Changed() <-chan struct{}
	// Take calls f for every device with something to report, oldest change first.
	// Reports are only made of devices that a session or monitor wants.
	Take(f func(*ble.Report))
	// Forget drops what is known of a device, as if it had never been heard.
	Forget(a ble.Address)
	// Lookup gives the address type and whether the device was heard at all.
	Lookup(a ble.Address) (ble.AddressType, bool)
	// Sources lists who hears a device.
	Sources(a ble.Address) []ble.Source
}

// Links brings up links through the proxies and runs GATT operations on them.
// The calls with done return at once; done is called once, from any goroutine, never
// before the call returned. Operations of one device run in the order of the calls.
// Errors are those of package ble.
type Links interface {
	// Connect brings up the link; via restricts it to one proxy unless empty.
	// done(nil) follows LinkUp and precedes Resolved.
	Connect(a ble.Address, t ble.AddressType, via string, done func(error))
	// CancelConnect calls off a pending Connect or Pair, which fails with ble.ErrCanceled.
	CancelConnect(a ble.Address)
	// Disconnect ends the link; done follows LinkDown.
	Disconnect(a ble.Address, done func())
	Read(a ble.Address, handle uint16, done func([]byte, error))
	ReadDescriptor(a ble.Address, handle uint16, done func([]byte, error))
	// Write writes with response; the proxy splits long values.
	Write(a ble.Address, handle uint16, value []byte, done func(error))
	// WriteCommand writes without response; done means that it was handed over in order.
	WriteCommand(a ble.Address, handle uint16, value []byte, done func(error))
	WriteDescriptor(a ble.Address, handle uint16, value []byte, done func(error))
	// Subscribe enables notifications (indications if the characteristic cannot notify) of the
	// characteristic with that value handle; Unsubscribe ends them. Both are remembered over a link loss:
	// a characteristic that is subscribed when the link comes up again is armed again.
	Subscribe(a ble.Address, valueHandle uint16, done func(error))
	Unsubscribe(a ble.Address, valueHandle uint16)
	// Pair pairs over the link that is up; done(nil) means bonded.
	Pair(a ble.Address, done func(error))
	// Forget unpairs and drops the cached database.
	Forget(a ble.Address)
	// ClearCache drops the cached database here and, where the proxy can, there.
	ClearCache(ctx context.Context, a ble.Address) (bool, error)
	// SetConnectionParams asks for new parameters of the link that is up; units of 1.25 ms and 10 ms.
	SetConnectionParams(ctx context.Context, a ble.Address, minInterval, maxInterval, latency, timeout uint16) error
}

// LinkEvents is what the shim is told of links; see [Shim.LinkEvents]. The calls for one
// device come in order and do not block.
type LinkEvents interface {
	// LinkUp: the link came up. MTU is the ATT_MTU, 23…517.
	LinkUp(a ble.Address, mtu int)
	// Resolved: the GATT database is known and subscriptions are armed again.
	Resolved(a ble.Address, db *ble.Database, mtu int)
	// LinkDown: the link ended. It comes once for each LinkUp.
	LinkDown(a ble.Address, reason ble.DisconnectReason)
	// Notified: a notification or indication. value may be kept.
	Notified(a ble.Address, valueHandle uint16, value []byte)
	// DatabaseChanged: the peripheral's database changed while connected.
	DatabaseChanged(a ble.Address, db *ble.Database)
	// Paired: the peripheral was paired, or lost its bond, without a call of Pair.
	Paired(a ble.Address, bonded bool)
}
