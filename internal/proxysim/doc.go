// Package proxysim simulates ESPHome Bluetooth proxies and the peripherals
// around them: an Air with any number of Peripherals, and Proxies that listen
// to it and are real peers of the native API, over TCP or any net.Conn. It
// behaves as ESPHome's firmware does, faults included, and differently by
// firmware version where the firmware did; it is what the demo, the simulate
// command and the tests run on.
//
// One mutex, the Air's, guards everything that happens on the air and in the
// proxies, and one goroutine, Air.Run, makes time pass there, so that a run
// under testing/synctest is the same each time.
package proxysim
