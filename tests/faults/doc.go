// Package faults holds the tests of what goes wrong around the daemon: its bus is restarted, its disk is full or
// damaged, it runs out of descriptors, it is ended or killed at a bad moment. The daemon and dbus-daemon are real
// processes, the proxies are simulated in the test's own.
package faults
