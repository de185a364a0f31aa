// Package controller has unmodified Bluetooth hosts, Bumble and noble, use the daemon's virtual controllers over
// sockets and serial lines, with simulated proxies and the peripherals of the recordings behind them.
package controller
