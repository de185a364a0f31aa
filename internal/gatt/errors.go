package gatt

import (
	"context"
	"errors"
	"fmt"

	"bluez-esphome/internal/ble"
)

// ErrQueueFull: a device has more operations waiting than are kept.
var ErrQueueFull = errors.New("too many operations are waiting for this device")

// Why a session or an attempt ends, as causes of its context.
var (
	errLocal    = errors.New("disconnected on request")
	errCanceled = errors.New("called off")
	errSilent   = errors.New("the proxy does not answer")
	errParked   = errors.New("the proxy was busy with another attempt while another proxy was free")
	errNoAnswer = errors.New("no answer; dialled again")
	errMovedOn  = errors.New("took too long while another proxy was free")
	errYielded  = errors.New("called off for another device, which is heard")
	errUnheard  = errors.New("the device does not answer and is not heard any more")
	errBlind    = errors.New("the device is not heard and did not answer")
	errTooLong  = errors.New("no answer in time")
	errAgain    = errors.New("to be dialled again")
)

// Codes of message 69 (ESPHome native API): HCI reasons and codes of the ESP's stack.
const (
	codeNone        = 0
	codeL2CAP       = 0x01
	codeAuth        = 0x05
	codeKeyMissing  = 0x06
	codeTimeout     = 0x08
	codeRemote      = 0x13
	codeLocal       = 0x16
	codeLLTimeout   = 0x22
	codeMIC         = 0x3d
	codeEstablish   = 0x3e
	codeGATT        = 0x85
	codeCancelled   = 0x100
	codeNotToCancel = 0x101
)

var codeTexts = map[int32]string{
	codeL2CAP: "L2CAP failure", codeAuth: "authentication failure", codeKeyMissing: "key missing",
	codeTimeout: "supervision timeout", codeRemote: "ended by the peripheral", codeLocal: "ended by the proxy",
	codeLLTimeout: "link-layer response timeout", codeMIC: "encryption failure",
	codeEstablish: "failed to establish", codeGATT: "did not answer, or out of reach",
	codeCancelled: "attempt cancelled by the proxy's stack", codeNotToCancel: "nothing to cancel",
}

// codeText names a code of message 69 for log and operator.
func codeText(code int32) string {
	if code == codeNone {
		return "disconnected without a reason"
	}
	if t, ok := codeTexts[code]; ok {
		return fmt.Sprintf("%s (0x%02x)", t, uint32(code))
	}
	return fmt.Sprintf("code 0x%02x", uint32(code))
}

// reasonOf maps the code of message 69 that ended a link.
func reasonOf(code int32) ble.DisconnectReason {
	switch code {
	case codeTimeout, codeLLTimeout:
		return ble.DisconnectTimeout
	case codeRemote:
		return ble.DisconnectRemote
	case codeLocal:
		return ble.DisconnectLocal
	case codeAuth, codeKeyMissing, codeMIC:
		return ble.DisconnectAuthentication
	}
	return ble.DisconnectUnknown
}

// failureOf classifies why one attempt failed.
func failureOf(err error) ble.ConnectFailure {
	var res ConnectResultError
	switch {
	case errors.As(err, &res):
		switch res.ConnectCode() {
		case codeTimeout, codeLLTimeout, codeEstablish:
			return ble.ConnectTimeout
		case codeNone, codeL2CAP, codeAuth, codeKeyMissing, codeRemote, codeLocal, codeMIC, codeGATT, codeCancelled:
			return ble.ConnectRefused
		}
		return ble.ConnectUnknown
	case errors.Is(err, errLost):
		return ble.ConnectLost
	case errors.Is(err, errMovedOn), errors.Is(err, errParked), errors.Is(err, errSilent), errors.Is(err, errNoAnswer),
		errors.Is(err, errYielded), errors.Is(err, errUnheard), errors.Is(err, errBlind), errors.Is(err, errTooLong), errors.Is(err, ble.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return ble.ConnectTimeout
	case errors.Is(err, ble.ErrNotConnected), errors.Is(err, errProxyGone):
		return ble.ConnectRefused
	}
	return ble.ConnectUnknown
}

// passes reports whether an attempt failed for something that may be over soon: a packet that was lost, or the proxy's
// stack.
func passes(err error) bool {
	var res ConnectResultError
	if !errors.As(err, &res) {
		return errors.Is(err, errLost)
	}
	switch res.ConnectCode() {
	case codeTimeout, codeLLTimeout, codeEstablish, codeGATT, codeCancelled:
		return true
	}
	return false
}

// said is what a proxy answered, for a ConnectError's Detail.
func said(err error) string {
	var res ConnectResultError
	if errors.As(err, &res) {
		return codeText(res.ConnectCode())
	}
	return err.Error()
}

// errLost: the link went before it was used. errProxyGone: the proxy went.
var (
	errLost      = errors.New("the link was lost at once")
	errProxyGone = errors.New("the proxy went offline")
)
