// Package connections tests links end to end: simulated proxies on TCP, the daemon, a
// private bus, and clients on it.
package connections
