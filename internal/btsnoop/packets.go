package btsnoop

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/h4"
)

// The channel of ATT on an LE link (Bluetooth Core, Vol 3 Part A, 2.1).
const channelATT = 0x0004

// manufacturer is what Index Info says: none.
const manufacturer = 0xffff

// NewIndexData is an adapter that appears: a primary controller on a virtual bus. Eight bytes of the name fit.
func NewIndexData(a ble.Address, name string) []byte {
	b := h4.AppendAddress([]byte{0, 0}, a)
	var short [8]byte
	copy(short[:], name)
	return append(b, short[:]...)
}

// IndexInfoData is what is known of an adapter.
func IndexInfoData(a ble.Address) []byte {
	return append(h4.AppendAddress(nil, a), manufacturer&0xff, manufacturer>>8)
}

// ProxyNote begins the note that says which proxy an adapter is.
const ProxyNote = "proxy "

// NoteData is a text.
func NoteData(text string) []byte { return append([]byte(text), 0) }

// EventData is an event without its H4 type.
func EventData(code byte, params ...byte) []byte {
	return append([]byte{code, byte(len(params))}, params...)
}

// CommandData is a command without its H4 type.
func CommandData(op uint16, params ...byte) []byte {
	return append([]byte{byte(op), byte(op >> 8), byte(len(params))}, params...)
}

// ATTData is an ACL packet, without its H4 type, that carries one ATT PDU whole. A PDU of the controller begins with
// another flag than one of the host (Bluetooth Core, Vol 4 Part E, 5.4.2).
func ATTData(handle uint16, received bool, pdu []byte) []byte {
	if received {
		handle |= 0x2000
	}
	n := len(pdu) + 4
	b := make([]byte, 0, 4+n)
	b = append(b, byte(handle), byte(handle>>8), byte(n), byte(n>>8))
	b = append(b, byte(len(pdu)), byte(len(pdu)>>8), channelATT, 0)
	return append(b, pdu...)
}
