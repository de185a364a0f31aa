// Package apiserver is the device's side of a native-API session: handshake,
// hello, keep-alive, device info, and requests and replies of the Bluetooth
// proxy in the program's own terms. What a request means is decided by a
// Backend; a Session only speaks. The simulated proxies and the sharing of real
// ones are its two users.
//
//	conn ──> Serve: handshake, hello ──> Backend.Opened
//	           │ one goroutine reads ──> Backend.Connect, Read, …, in order of arrival
//	           │ one writes the bounded queue <── Session.Connection, ReadData, …
//	           │ one keeps alive: ping after 60 s of silence, the end after 150 s
//	           └──> Backend.Closed
package apiserver
