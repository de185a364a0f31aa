// Package replay plays recordings of bluetoothd 5.87 again, those of tests/golden, in Go alone: the calls with their
// arguments, and what the simulated peripheral does, come from the recording itself, and what the daemon answers and
// signals is compared step by step, as sets of single facts. It waits for what the recording says will come, so it is
// as fast as the daemon.
//
// A step begins with an action of the client: a call, a request to the peripheral, or a mark (a client left the bus, a
// descriptor was closed). Not compared are times, the adapter's name and address, RSSI, and interfaces that a central
// made of proxies does not have.
package replay
