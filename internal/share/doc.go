// Package share offers each real proxy on to other hosts, such as Home Assistant: a proxy serves one host only,
// and whoever comes second hears nothing, or silences the first.
//
//	real proxy ──> daemon ──> Proxy ──┬──> host ──> Home Assistant
//	                 │  ^             ├──> host ──> another one
//	                 v  │ Links       └──> …
//	          gatt, with an owner per host
//
// To its hosts a shared proxy is a device with ESPHome: the version, the features and the radio's address are those of
// the real one; the name and the network address are its own, so that nobody takes it for the original. Advertisements
// go to every host that subscribed; one that does not read fast enough loses its own oldest ones. Connections are held
// through package links, where programs on D-Bus and all hosts draw on the same slots; each host sees as allocated what
// it holds itself, and as the limit what it could hold at most.
//
// Or all proxies are shared as one (Merged), with addresses of its own for network and radio. A host takes it for one
// receiver, so it gets each advertisement once.
//
// While the real proxy is offline the shared one is, too, as when a device restarts: its sessions are closed without a
// word, its port refuses connections, and both come back with it. A host that comes back finds its subscriptions and
// links gone, as it would with the device.
package share
