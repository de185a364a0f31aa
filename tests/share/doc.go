// Package share tests shared proxies end to end: hosts such as Home Assistant use simulated proxies through the daemon
// while programs on D-Bus use them, too.
package share
