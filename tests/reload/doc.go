// Package reload holds the test of reloads under load: the real program and real clients on a real bus, while the
// configuration changes under them.
package reload
