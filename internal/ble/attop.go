package ble

// Opcodes of ATT (Bluetooth Core, Vol 3 Part F, 3.4.8). The response to a request has the next opcode.
const (
	ATTOpError              = 0x01
	ATTOpMTURequest         = 0x02
	ATTOpMTUResponse        = 0x03
	ATTOpFindInformation    = 0x04
	ATTOpFindByTypeValue    = 0x06
	ATTOpReadByType         = 0x08
	ATTOpRead               = 0x0a
	ATTOpReadBlob           = 0x0c
	ATTOpReadMultiple       = 0x0e
	ATTOpReadByGroupType    = 0x10
	ATTOpWrite              = 0x12
	ATTOpPrepareWrite       = 0x16
	ATTOpExecuteWrite       = 0x18
	ATTOpNotification       = 0x1b
	ATTOpIndication         = 0x1d
	ATTOpConfirmation       = 0x1e
	ATTOpReadMultipleVarRsp = 0x21
	ATTOpMultipleNotify     = 0x23
	ATTOpWriteCommand       = 0x52

	// ATTCommand is set in the opcode of what is never answered (3.3.1).
	ATTCommand = 0x40
)
