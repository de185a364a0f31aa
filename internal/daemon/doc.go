// Package daemon wires the packages into the program that runs: proxies to
// the merged air and to links, both to the bus, and everything to systemd. It
// holds no rule of Bluetooth or BlueZ of its own.
package daemon
