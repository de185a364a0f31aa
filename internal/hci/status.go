package hci

// errorCode is an HCI status or reason (Bluetooth Core, Vol 1 Part F, 1.3).
type errorCode byte

// Statuses and reasons that the controller says.
const (
	success              errorCode = 0x00
	unknownCommand       errorCode = 0x01
	unknownConnection    errorCode = 0x02
	cancelled            errorCode = 0x02 // Unknown Connection Identifier, which says so in LE Connection Complete
	authenticationFailed errorCode = 0x05
	memoryExceeded       errorCode = 0x07
	connectionTimeout    errorCode = 0x08
	connectionLimit      errorCode = 0x09
	connectionExists     errorCode = 0x0b
	commandDisallowed    errorCode = 0x0c
	invalidParameters    errorCode = 0x12
	remoteUserEnded      errorCode = 0x13
	localHostEnded       errorCode = 0x16
	unsupportedRemote    errorCode = 0x1a
	unacceptable         errorCode = 0x3b // connection parameters
	notEstablished       errorCode = 0x3e
)
