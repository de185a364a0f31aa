// Command soak runs the program for a long time under load and says whether it stayed as it was at the start: a
// real daemon on a real bus, 20 simulated proxies with 500 devices in the air that come, go and change, outages of
// every kind, and ten clients. It samples what the daemon uses, checks every notification's number, every tree against
// the signals that led to it, every error and every line of the log, and writes docs/evidence/soak.md.
//
// The simulation runs in this process, so that what the daemon uses is the daemon's alone.
package main
