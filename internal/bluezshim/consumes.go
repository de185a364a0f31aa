package bluezshim

import "bluez-esphome/internal/ble"

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
