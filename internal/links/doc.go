// Package links declares what a front sees of links to peripherals: the operations that it may ask for (Links) and what
// it is told of (Events). A front is whatever offers links to others: the programs on D-Bus (bluezshim), the hosts that
// share a proxy (share). Package gatt implements Links, one for each party; linkstest has the fake.
//
//	front ──Links──▶ gatt.Owner ──▶ the one link of the peripheral ◀── gatt.Owner ◀──Links── another front
//	front ◀─Events── gatt.Owner ◀──           through a proxy        ──▶ gatt.Owner ──Events─▶ another front
//
// # Threads
//
// The calls of Links are goroutine-safe. Those that have a done return at once, whatever locks the caller holds: no
// done and no event is called before they returned, from within them, or while a lock of gatt is held. Those that have
// a context block, and are not to be called with a lock held that an event takes, nor from an event.
//
// Events and done are called one after another, never two at a time, for all devices and parties. They must not block,
// and may call those methods of Links that return at once.
//
// # Order
//
// For one device and one party: operations take effect in the order of the calls; what was asked for before Disconnect
// is done or refused before it. LinkUp precedes the done(nil) of Connect, which precedes Resolved. A notification
// follows the done(nil) of the Subscribe that asked for it. Nothing of a link is told between its LinkDown and the next
// LinkUp; the done of Disconnect follows LinkDown. After Close nothing is told.
package links
