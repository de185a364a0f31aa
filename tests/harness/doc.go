// Package harness runs the real program for the end-to-end tests: it builds it once per test
// binary (or takes the one that -bin names), starts it, waits for what it prints and
// stops it. Nothing in it sleeps: it waits for output, with a limit.
package harness
