// Package scanner merges what all proxies hear into one view of the air: a
// [Table] of devices, each with the history of every proxy that hears it, an owner
// (the proxy whose RSSI counts), the newest content whoever heard it, and
// what discovery sessions and advertisement monitors want to know of it.
// [ModePolicy] says in which mode the proxies should scan. The package does
// no I/O; its only goroutine is a timer's callback.
package scanner
