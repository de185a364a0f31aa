// Package btsnoop reads and writes captures of Bluetooth traffic as files in the format btsnoop, which Wireshark and
// btmon show. Those that it writes are of the Linux monitor's kind, in which each packet says which adapter it is of;
// those that it reads may be of HCI's kinds, too. No goroutines, no state but the reader's.
package btsnoop
