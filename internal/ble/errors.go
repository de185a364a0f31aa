package ble

import (
	"errors"
	"fmt"
)

// ATTError is an error response of the peripheral's ATT server
// (Bluetooth Core, Vol 3 Part F, 3.4.1.1), 0x01 to 0xff. The proxy passes it
// on in message 82.
type ATTError uint8

func (e ATTError) Error() string { return fmt.Sprintf("ATT error 0x%02x", uint8(e)) }

// ATT errors that the program reacts to.
const (
	ATTInvalidHandle        ATTError = 0x01
	ATTReadNotPermitted     ATTError = 0x02
	ATTWriteNotPermitted    ATTError = 0x03
	ATTAuthentication       ATTError = 0x05
	ATTRequestNotSupported  ATTError = 0x06
	ATTInvalidOffset        ATTError = 0x07
	ATTAuthorization        ATTError = 0x08
	ATTAttributeNotLong     ATTError = 0x0b
	ATTEncryptionKeySize    ATTError = 0x0c
	ATTInvalidLength        ATTError = 0x0d
	ATTUnlikely             ATTError = 0x0e
	ATTEncryption           ATTError = 0x0f
	ATTInsufficientResource ATTError = 0x11
	ATTDatabaseOutOfSync    ATTError = 0x12
)

// ErrNotConnected: the operation needs a link and there is none, or the link went while the
// operation was pending.
var ErrNotConnected = errors.New("not connected")

// ErrTimeout: the peripheral or the proxy did not answer in time.
var ErrTimeout = errors.New("timed out")

// ErrCanceled: a pending connection or pairing was called off by Disconnect, CancelPairing or removal.
var ErrCanceled = errors.New("canceled")

// ErrNotSupported: no proxy that could do it has the feature; the wrapping error
// names proxy and version.
var ErrNotSupported = errors.New("not supported by the proxy")

// ConnectFailure says why no link came up.
type ConnectFailure uint8

// Reasons for which a connection attempt fails.
const (
	ConnectUnknown ConnectFailure = iota // anything else
	ConnectTimeout                       // nothing answered in time, or nobody hears the device
	ConnectNoSlot                        // every proxy that hears it has its connection slots in use
	ConnectRefused                       // proxy gone, or the proxy or peripheral refused
	ConnectBlocked                       // only proxies without ACTIVE_CONNECTIONS, or denied by configuration
	ConnectLost                          // the link was up and went during set-up
)

// ConnectError is returned by an attempt to connect that failed on every path. Detail
// is for log and operator: it names the proxies tried and what each said.
type ConnectError struct {
	Failure ConnectFailure
	Detail  string
}

func (e *ConnectError) Error() string { return "cannot connect: " + e.Detail }

// PairError is returned when pairing failed after the link was up. Reason is the proxy's
// number (message 85 field 3), an SMP reason or a stack code.
type PairError struct{ Reason int32 }

func (e *PairError) Error() string { return fmt.Sprintf("pairing failed (reason %d)", e.Reason) }

// DisconnectReason is why a link that was up ended (bluetoothd 5.87, Device1 Disconnected signal).
type DisconnectReason uint8

// Disconnect reasons.
const (
	DisconnectUnknown DisconnectReason = iota
	DisconnectTimeout
	DisconnectLocal
	DisconnectRemote
	DisconnectAuthentication
	DisconnectSuspend
)
