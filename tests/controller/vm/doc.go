// Package vm tests the virtual controllers on a real kernel with its bluetoothd. Its tests run in virtual machines,
// which make test-controller boots; anywhere else they are skipped.
package vm
