// Command bench measures what the program costs, beside the reference (the Bluetooth stack of Home Assistant in
// Python) and the floor (a bare reader in Go), all in one run on the same load, and writes docs/evidence/benchmarks.md.
//
//	bench ──starts──> load (simulated proxies, a process of its own: nobody's CPU)
//	  │                 │ the same bytes to each
//	  └──starts, one after the other, round for round──> reference, daemon, floor
//	           CPU time of each process, and of dbus-daemon apart
package main
