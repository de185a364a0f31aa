package smp

import (
	"errors"

	"bluez-esphome/internal/ble"
)

// Codes of PDUs (Bluetooth Core, Vol 3 Part H, 3.3).
const (
	codeRequest     = 0x01
	codeResponse    = 0x02
	codeConfirm     = 0x03
	codeRandom      = 0x04
	codeFailed      = 0x05
	codeEncryption  = 0x06
	codeCentralID   = 0x07
	codeIdentity    = 0x08
	codeAddress     = 0x09
	codeSigning     = 0x0a
	codeSecurity    = 0x0b
	codePublicKey   = 0x0c
	codeDHKeyCheck  = 0x0d
	codeKeypress    = 0x0e
	capNoInput      = 0x03 // IO capability NoInputNoOutput
	maxCapability   = 0x04
	authBonding     = 0x01
	authBondingMask = 0x03
	authSecure      = 0x08 // LE Secure Connections
	keyEncryption   = 0x01 // EncKey of a key distribution
	minKey, maxKey  = 7, 16
)

// Reason is why pairing failed (Bluetooth Core, Vol 3 Part H, 3.5.5).
type Reason byte

// Reasons.
const (
	ReasonOOB          Reason = 0x02
	ReasonConfirm      Reason = 0x04
	ReasonNotSupported Reason = 0x05
	ReasonKeySize      Reason = 0x06
	ReasonCommand      Reason = 0x07
	ReasonUnspecified  Reason = 0x08
	ReasonRepeated     Reason = 0x09
	ReasonInvalid      Reason = 0x0a
	ReasonDHKeyCheck   Reason = 0x0b
	reasonLast         Reason = 0x0e
	// ESP-IDF gives the reasons of its Security Manager behind those of HCI: 78 is Passkey Entry Failed
	espSMPBase int32 = 77
)

// lengths are those of whole PDUs that a host may send.
var lengths = map[byte]int{
	codeRequest: 7, codeConfirm: 17, codeRandom: 17, codeFailed: 2, codeEncryption: 17, codeCentralID: 11, codeIdentity: 17,
	codeAddress: 8, codeSigning: 17, codePublicKey: 65, codeDHKeyCheck: 17, codeKeypress: 2,
}

// reasonOf is what a host is told when the proxy did not pair: what the peripheral or the proxy's stack said, such as
// Authentication Requirements where a passkey is wanted, or else no particular reason.
func reasonOf(err error) Reason {
	var pe *ble.PairError
	switch {
	case errors.Is(err, ble.ErrNotSupported):
		return ReasonNotSupported
	case !errors.As(err, &pe):
		return ReasonUnspecified
	}
	n := pe.Reason
	if n > espSMPBase {
		n -= espSMPBase
	}
	if n < 1 || n > int32(reasonLast) {
		return ReasonUnspecified
	}
	return Reason(n)
}

// Statuses of LE Enable Encryption (Bluetooth Core, Vol 1 Part F).
const (
	StatusSuccess         byte = 0x00
	StatusKeyMissing      byte = 0x06
	statusDisallowed      byte = 0x0c
	statusUnsupported     byte = 0x1a
	statusUnspecified     byte = 0x1f
	statusResponseTimeout byte = 0x22
)

// statusOf is what a host is told when the proxy did not encrypt again. Key Missing makes it take its bond for lost,
// which is so only where the peripheral refused.
func statusOf(err error) byte {
	var pe *ble.PairError
	switch {
	case err == nil:
		return StatusSuccess
	case errors.As(err, &pe):
		return StatusKeyMissing
	case errors.Is(err, ble.ErrNotSupported):
		return statusUnsupported
	case errors.Is(err, ble.ErrTimeout):
		return statusResponseTimeout
	}
	return statusUnspecified
}
