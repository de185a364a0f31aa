// Package att is an ATT server in the place of a peripheral: it answers one host on one link from the database that a
// proxy listed, and relays values to and from the proxy. It has no I/O, no goroutines and no clock of its own: PDUs
// come in by Server.Receive and leave by Config.Send, and time is Config.After.
//
//	host ──PDU── Receive ──▶ Server ──ble.Operation── Config.Do ──▶ the link, package links
//	host ◀──PDU── Send ───── Server ◀──value, error── done
//
// A proxy lists neither where services end nor declarations; the table has them where a sound database has them.
// Included and secondary services it does not tell of, so no host is told of any.
//
// # What a host is never given
//
// A value under another characteristic's UUID. A host may use handles that it learnt on an earlier link, so what it was
// told outlives the link (Seen). Where the database is another one now, handles that mean something else are refused
// until the host was given their new declarations.
//
// # Threads
//
// Whoever drives a Server calls it, and every done and timer that it gave away, one after another, with one lock held:
// a Server needs none. What a Server calls in its Config it may call from within any of these; it is never called back
// from within. After Close it calls nothing.
package att
