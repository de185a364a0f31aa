// Package bluezshim is BlueZ's behaviour on a generic D-Bus object tree:
// adapters, devices, GATT objects, agents and monitors, each client's
// sessions, property signals in BlueZ's order, and BlueZ's error names. It
// hears of the air through the small interface in consumes.go, and of links through package links.
//
// All state belongs to the loop of the dbusobj.Conn that it is built on: every
// method handler, and everything that arrives from elsewhere by Conn.Post,
// runs there one after another, as in bluetoothd's main loop. No handler
// blocks. Only a pipe, whose goroutines read and write it, and the count of notifications that wait have locks; nothing
// is called under them.
package bluezshim
