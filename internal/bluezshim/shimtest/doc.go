// Package shimtest has what a bluezshim.Shim consumes, scripted by a test: an air that reports what the test hears, a
// store in memory, and a clock that moves by hand; the links are those of package linkstest. Everything in it is
// goroutine-safe.
package shimtest
