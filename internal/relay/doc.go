// Package relay is a client's session with a device whose messages are passed on unread: a number and bytes, in both
// directions. A shared proxy opens one for each host that asks for more than Bluetooth; what the host subscribed, its
// camera images and its voice assistant are then its own, as the native API has them per connection.
//
//	host ──> share ──> Session.Send ──> device
//	host <── share <── take        <── device
//
// Only what belongs to the session itself is read: the hello, pings, and goodbyes. Both directions hold back whoever
// sends: Send waits while the device does not take what was sent, and nothing is read from the device while take waits.
package relay
