// Package ble holds the values that the rest of the program speaks in:
// addresses, UUIDs, advertisements and their parser, GATT databases, filters
// and the reasons for which a link ends. It does no I/O and starts no
// goroutine; every value is safe to copy and, once shared, is not modified.
package ble
