// Package apiconn keeps one native-API session with one ESPHome Bluetooth
// proxy: it resolves and dials, handshakes, subscribes, watches the
// connection, reconnects by itself, hands advertisements to a Handler and
// turns the wire's uncorrelated answers into calls that return.
//
// Ordering guarantees:
//   - All Handler calls of a proxy are made from one goroutine, in the order of the messages on the wire.
//     Online comes first in a session, Offline last.
//   - A call that waits for an answer returns after the Handler calls for all earlier messages. Handler calls
//     for later messages may overtake its return.
//   - Requests go out in the order in which the calls were made by one goroutine. Requests for the same attribute of
//     the same peripheral go out one at a time: the native API has no request numbers.
//
// Life of a Proxy:
//
//	           +--------------------------- back-off <------------------------+
//	           v                                                              |
//	offline -> connecting -> online <-> deaf | displaced -> session lost -> offline
//	                    \-> auth-failed (slow retries)
//	                    \-> displaced   (slow retries)
package apiconn
