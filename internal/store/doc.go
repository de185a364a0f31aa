// Package store keeps state that outlives a run: the adapter's address and settings, what is known of
// devices, GATT databases, and the numbers given to proxies. It is plain JSON in one
// directory: state.json, and one file per device under gatt/. Files are replaced
// whole by an atomic rename, a short while after a change, so that many changes cost one write.
//
// A file that cannot be understood is set aside under a name of its own and reported; a disk that
// cannot be written is reported once and tried again. Neither stops the program.
package store
