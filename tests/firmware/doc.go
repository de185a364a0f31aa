// Package firmware tests the whole chain, from a program on the bus to a peripheral, against proxies of every firmware
// version and board that matters: those of the simulator over TCP, the same with what they say changed on the way, and
// proxies that are written independently of ours.
package firmware
