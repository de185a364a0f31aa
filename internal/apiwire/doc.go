// Package apiwire is the ESPHome native API's wire for both of its roles:
// message numbers and encodings, plaintext and Noise frames, and the handshakes
// with their failures. It works on readers and writers, knows no sockets and no time, and
// starts no goroutine.
package apiwire
