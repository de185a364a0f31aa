package apiwire

import (
	"os"

	"google.golang.org/protobuf/encoding/protowire"
)

// A daemon that shares a proxy marks message 10 with the daemons that it comes through, the nearest first: a repeated text
// under a number that ESPHome does not use, which hosts skip as protobuf has them do. Each is the daemon's address, which is
// made once and kept in its state, a space, and the name of its host.
const ViaField protowire.Number = 15001

// ClientName is how this program begins to say who it is when it is a client (message 1). A space follows, and the version
// where it is a daemon: so a daemon that shares its proxies knows others.
const ClientName = "bluez-esphome"

// Bounds of a chain, of which every daemon adds one text.
const (
	maxVia     = 32
	maxViaText = 64
)

// Self is the text of the daemon with that address, on this host. It is what others read of it.
func Self(address string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return Printable(address+" "+host, maxViaText)
}

// Via reads the daemons out of message 10. What is no message has none.
func Via(payload []byte) (via []string) {
	for len(payload) > 0 && len(via) < maxVia {
		number, kind, n := protowire.ConsumeTag(payload)
		if n < 0 {
			return via
		}
		payload = payload[n:]
		if number == ViaField && kind == protowire.BytesType {
			text, n := protowire.ConsumeBytes(payload)
			if n < 0 {
				return via
			}
			via, payload = append(via, Printable(string(text), maxViaText)), payload[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, payload); n < 0 {
			return via
		}
		payload = payload[n:]
	}
	return via
}

// AppendVia adds daemons to message 10.
func AppendVia(payload []byte, via []string) []byte {
	for _, v := range via[:min(len(via), maxVia)] {
		payload = protowire.AppendTag(payload, ViaField, protowire.BytesType)
		payload = protowire.AppendString(payload, v)
	}
	return payload
}
