// Package mdns implements the part of multicast DNS (RFC 6762) and DNS-SD (RFC 6763) that proxies need: it resolves
// .local names, browses for the instances of one service, reports signs of life, and announces shared and simulated
// proxies.
//
// It uses golang.org/x/net/dns/dnsmessage alone: no cgo and no NSS module. Input from the network is hostile: every
// table is bounded, and only multicast packets that came in on the chosen interfaces count.
package mdns
