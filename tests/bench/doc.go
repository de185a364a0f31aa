// Command bench measures what the program costs, and compares it with the reference (the Bluetooth stack of Home
// Assistant in Python) and the floor (a bare reader in Go). It measures all of them in one run on the same load, and
// writes docs/evidence/benchmarks.md.
//
//	bench ──starts──> load (simulated proxies, a process of its own: its CPU time is not measured)
//	  │                 │ the same bytes to each
//	  └──starts, one after the other, round for round──> reference, daemon, floor
//	           CPU time of each process, and of dbus-daemon apart
package main
