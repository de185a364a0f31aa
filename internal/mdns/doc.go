// Package mdns speaks as much multicast DNS (RFC 6762) and DNS-SD (RFC 6763)
// as proxies need: it resolves .local names, watches for the instances of one service
// and says who gave a sign of life, and announces simulated proxies.
//
// It stands on golang.org/x/net/dns/dnsmessage alone: no cgo and no nss module. What comes from the
// network is hostile: every table is bounded, and only multicast packets that came in on the chosen
// interfaces count.
package mdns
