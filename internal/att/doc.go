// Package att is an ATT server in the place of a peripheral: it answers one host on one link from the database that a proxy
// listed, and relays values to and from the proxy. It has no I/O, no goroutines and no clock of its own: PDUs come in by
// Server.Receive and leave by Config.Send, and time is Config.After.
//
//	host ──PDU── Receive ──▶ Server ──ble.Operation── Config.Do ──▶ the link, package links
//	host ◀──PDU── Send ───── Server ◀──value, error── done
//
// # Threads
//
// Whoever drives a Server calls it, and every done and timer that it gave away, one after another, with one lock held: a Server
// needs none. What a Server calls in its Config it may call from within any of these; it is never called back from within.
// After Close it calls nothing.
package att
