// Package mdns tests that shared proxies are found on a network: the program announces them in one network namespace,
// and the clients that Home Assistant uses look for them in another.
package mdns
