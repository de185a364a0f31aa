// Package shimtest has what a bluezshim.Shim consumes, scripted by a test: links whose
// operations end when the test says so, an air that reports what the test hears, a store in memory,
// and a clock that moves by hand. Everything in it is goroutine-safe.
package shimtest
