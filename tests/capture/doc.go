// Package capture tests what the command capture records of a running daemon: tests only.
package capture
