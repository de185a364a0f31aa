// Package dbusobj serves a tree of D-Bus objects so that clients see exactly what
// they see of a daemon built on BlueZ's gdbus over libdbus: the same dispatch order,
// the same coalescing of signals, the same error names and texts, the same
// introspection. It knows nothing of Bluetooth.
//
// One [Conn] owns the socket to the bus. A reader goroutine takes messages off it, a
// writer goroutine batches messages onto it, and between them one loop goroutine, the
// one that is in [Conn.Run], handles incoming messages and posted functions one by
// one, in the order in which they came. All handlers and callbacks run in the loop, so
// the state they share needs no lock; they must not block.
//
// While the loop goroutine has nothing to do, the goroutine that brings work runs the loop in its place: the reader, or
// a caller of [Conn.PostHelp]. It also writes what the socket takes at once. So a call is answered without waking
// another goroutine. Still only one runs the loop at a time.
//
// Objects are data: an [Object] is a path, a pointer to the owner's data and a list of
// shared [Interface] descriptions. Values are read when they are needed, through the
// functions in the description, and encoded at once.
//
//	                 ┌────────────── loop ───────────────┐
//	reader ─ queue ─▶│ dispatch ─▶ handler ─▶ flush      │─ chunks ─▶ writer
//	Post   ─────────▶│              (state)   (signals)  │
//	                 └───────────────────────────────────┘
//
// With [Reconnect] a Conn outlives its bus: the tree and the loop stay, everybody who was on the bus has left, and
// another socket takes the place of the dead one.
//
// godbus supplies the types and decodes the bodies that BlueZ's clients seldom send; its Conn is not used,
// because it starts a goroutine for each call and so loses their order, never closes
// received file descriptors, and marshals maps in random order.
package dbusobj
