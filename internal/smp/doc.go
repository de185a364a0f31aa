// Package smp is the responder of the Security Manager towards one host on one link: Just Works, legacy and Secure
// Connections. The link between the host and us is memory, and what protects the air is the proxy's bond; this gives
// the host the key that it wants to see again, once the proxy has paired. It has no I/O, no goroutines and no clock of
// its own: PDUs come in by Responder.Receive and leave by Config.Send, and time is Config.After.
//
// # Threads
//
// As with package att: whoever drives a Responder calls it, and every done and timer that it gave away, one after
// another, with one lock held. It is never called back from within what it calls. After Close it calls nothing.
package smp
