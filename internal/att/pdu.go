package att

import "bluez-esphome/internal/ble"

// Errors that only the server itself gives (Bluetooth Core, Vol 3 Part F, 3.4.1.1).
const (
	errInvalidPDU       ble.ATTError = 0x04
	errPrepareQueueFull ble.ATTError = 0x09
	errNotFound         ble.ATTError = 0x0a
	errUnsupportedGroup ble.ATTError = 0x10
)

// isResponse reports whether a PDU with that opcode is one that a server sends, or an opcode that does not exist below
// the first: a host has no reason to.
func isResponse(op byte) bool {
	return op == 0 || op&1 == 1 && op <= ble.ATTOpMultipleNotify
}

// shapes are the lengths that requests may have, the opcode included; max 0 is any. A length that fits none is an
// invalid PDU.
var shapes = map[byte]struct{ min, max int }{
	ble.ATTOpMTURequest:      {3, 3},
	ble.ATTOpFindInformation: {5, 5},
	ble.ATTOpFindByTypeValue: {7, 0},
	ble.ATTOpReadByType:      {7, 21},
	ble.ATTOpRead:            {3, 3},
	ble.ATTOpReadBlob:        {5, 5},
	ble.ATTOpReadMultiple:    {5, 0},
	ble.ATTOpReadByGroupType: {7, 21},
	ble.ATTOpWrite:           {3, 0},
	ble.ATTOpPrepareWrite:    {5, 0},
	ble.ATTOpExecuteWrite:    {2, 2},
}

// wellFormed reports whether a PDU has a length that its opcode may have. Requests that are not known have no shape.
func wellFormed(pdu []byte) bool {
	shape := shapes[pdu[0]]
	n := len(pdu)
	switch {
	case n < shape.min || shape.max != 0 && n > shape.max:
		return false
	case pdu[0] == ble.ATTOpReadByType || pdu[0] == ble.ATTOpReadByGroupType:
		return n == shape.min || n == shape.max
	case pdu[0] == ble.ATTOpReadMultiple:
		return n%2 == 1
	}
	return true
}
