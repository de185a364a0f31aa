package att

import "bluez-esphome/internal/ble"

// Opcodes (Bluetooth Core, Vol 3 Part F, 3.4.8).
const (
	opError              = 0x01
	opMTURequest         = 0x02
	opMTUResponse        = 0x03
	opFindInformation    = 0x04
	opFindByTypeValue    = 0x06
	opReadByType         = 0x08
	opRead               = 0x0a
	opReadBlob           = 0x0c
	opReadMultiple       = 0x0e
	opReadByGroupType    = 0x10
	opWrite              = 0x12
	opPrepareWrite       = 0x16
	opExecuteWrite       = 0x18
	opNotification       = 0x1b
	opIndication         = 0x1d
	opConfirmation       = 0x1e
	opReadMultipleVarRsp = 0x21
	opMultipleNotify     = 0x23
	opWriteCommand       = 0x52

	// flagCommand is set in what is never answered (3.3.1).
	flagCommand = 0x40
)

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
	return op == 0 || op&1 == 1 && op <= opMultipleNotify
}

// shapes are the lengths that requests may have, the opcode included; max 0 is any. A length that fits none is an
// invalid PDU.
var shapes = map[byte]struct{ min, max int }{
	opMTURequest:      {3, 3},
	opFindInformation: {5, 5},
	opFindByTypeValue: {7, 0},
	opReadByType:      {7, 21},
	opRead:            {3, 3},
	opReadBlob:        {5, 5},
	opReadMultiple:    {5, 0},
	opReadByGroupType: {7, 21},
	opWrite:           {3, 0},
	opPrepareWrite:    {5, 0},
	opExecuteWrite:    {2, 2},
}

// wellFormed reports whether a PDU has a length that its opcode may have. Requests that are not known have no shape.
func wellFormed(pdu []byte) bool {
	shape := shapes[pdu[0]]
	n := len(pdu)
	switch {
	case n < shape.min || shape.max != 0 && n > shape.max:
		return false
	case pdu[0] == opReadByType || pdu[0] == opReadByGroupType:
		return n == shape.min || n == shape.max
	case pdu[0] == opReadMultiple:
		return n%2 == 1
	}
	return true
}
