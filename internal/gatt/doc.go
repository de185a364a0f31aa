// Package gatt brings up links to BLE peripherals through the best proxy and
// runs GATT operations on them: path choice and failover, connection slots, the
// attribute database and its cache, subscriptions that outlive a link, pairing.
//
// A [Manager] has at most one session per address and a session has at most one
// link at a time, so that no peripheral is ever dialled through two proxies at once:
//
//	dialling ──link up──> resolving ──database known──> serving ──link lost──> over
//	   │  ^                   │  ^                          │ ^
//	   │  └─next proxy        │  └─dial again (list cut     │ └─dial again (Service
//	   └─out of paths─> over  │    short, proxy gone)       │   Changed)
//	                          └─failed─> over               └─Disconnect─> over
//
// Ordering: callbacks of all devices run one after another on one goroutine at a
// time, in the order in which their causes were noted; the notifications of a
// device come in the order in which the proxy sent them; the operations of a
// device run in the order in which they were asked for. Callbacks must not block
// and must not call [Manager.Close].
package gatt
