package bluezshim

import (
	"errors"
	"fmt"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

// A dbusError is an error name and message as bluetoothd 5.87 sends them.
type dbusError struct{ name, message string }

func (e dbusError) Error() string { return e.name + ": " + e.message }

func (e dbusError) to(c *dbusobj.Call) { c.Error(e.name, e.message) }

const errorPrefix = "org.bluez.Error."

// The errors of bluetoothd 5.87, with its texts.
var (
	errInvalidArguments = dbusError{errorPrefix + "InvalidArguments", "Invalid arguments in method call"}
	errInvalidOffset    = dbusError{errorPrefix + "InvalidArguments", "Invalid offset"}
	errInvalidLength    = dbusError{errorPrefix + "InvalidArguments", "Invalid Length"}
	errBusy             = dbusError{errorPrefix + "InProgress", "Operation already in progress"}
	errInProgress       = dbusError{errorPrefix + "InProgress", "In Progress"}
	errAlreadyExists    = dbusError{errorPrefix + "AlreadyExists", "Already Exists"}
	errNotSupported     = dbusError{errorPrefix + "NotSupported", "Operation is not supported"}
	errNotConnected     = dbusError{errorPrefix + "NotConnected", "Not Connected"}
	errDoesNotExist     = dbusError{errorPrefix + "DoesNotExist", "Does Not Exist"}
	errNotAuthorized    = dbusError{errorPrefix + "NotAuthorized", "Operation Not Authorized"}
	errNotReady         = dbusError{errorPrefix + "NotReady", "Resource Not Ready"}

	errAuthFailed   = dbusError{errorPrefix + "AuthenticationFailed", "Authentication Failed"}
	errAuthCanceled = dbusError{errorPrefix + "AuthenticationCanceled", "Authentication Canceled"}
	errAuthTimeout  = dbusError{errorPrefix + "AuthenticationTimeout", "Authentication Timeout"}
	errPageTimeout  = dbusError{errorPrefix + "ConnectionAttemptFailed", "Page Timeout"}
)

func errFailed(message string) dbusError { return dbusError{errorPrefix + "Failed", message} }

func errNotPermitted(message string) dbusError {
	return dbusError{errorPrefix + "NotPermitted", message}
}

var (
	errCanceled     = errFailed("br-connection-canceled")
	errDisconnected = errFailed("Not connected")
	errInitiate     = errFailed("Failed to initiate write")
)

// connectError maps the failure of a connection attempt (bluetoothd 5.87, Device1 Connect). The text
// le-connection-abort-by-local is only for links that were up: bleak then waits for
// Connected=false, which would otherwise never come.
func connectError(err error) dbusError {
	var ce *ble.ConnectError
	switch {
	case errors.Is(err, ble.ErrCanceled):
		return errCanceled
	case errors.As(err, &ce):
		switch ce.Failure {
		case ble.ConnectTimeout:
			return errFailed("le-connection-timeout")
		case ble.ConnectNoSlot:
			return errFailed("le-connection-concurrent-connection-limit (no free connection slot)")
		case ble.ConnectRefused:
			return errFailed("le-connection-refused")
		case ble.ConnectBlocked:
			return errFailed("le-connection-refused (" + ce.Detail + ")")
		case ble.ConnectLost:
			return errFailed("le-connection-abort-by-local")
		}
	case errors.Is(err, ble.ErrTimeout):
		return errFailed("le-connection-timeout")
	}
	return errFailed("le-connection-unknown")
}

// operationError maps the failure of a GATT operation on a link that was up when it
// started. A link that went or a peer that never answered is ATT error 0x0e, as in bluetoothd.
func operationError(err error) dbusError {
	var att ble.ATTError
	switch {
	case errors.As(err, &att):
		return attError(att)
	case errors.Is(err, ble.ErrNotSupported):
		return errNotSupported
	case errors.Is(err, ble.ErrNotConnected), errors.Is(err, ble.ErrTimeout), errors.Is(err, ble.ErrCanceled):
		return attError(ble.ATTUnlikely)
	}
	return errFailed("Operation failed")
}

// attError maps an ATT error response.
func attError(e ble.ATTError) dbusError {
	switch e {
	case ble.ATTReadNotPermitted:
		return errNotPermitted("Read not permitted")
	case ble.ATTWriteNotPermitted:
		return errNotPermitted("Write not permitted")
	case ble.ATTAuthentication, ble.ATTEncryption, ble.ATTEncryptionKeySize:
		return errNotPermitted("Not paired")
	case ble.ATTInvalidOffset:
		return errInvalidOffset
	case ble.ATTInvalidLength:
		return errInvalidLength
	case ble.ATTAuthorization:
		return errNotAuthorized
	case ble.ATTRequestNotSupported:
		return errNotSupported
	}
	return errFailed(fmt.Sprintf("Operation failed with ATT error: 0x%02x", uint8(e)))
}

// insecure: the peripheral wanted a paired link, and there was no agent to pair for.
func (p *peer) insecure(err error) bool {
	return !p.st.Bonded && !p.shim.AgentRegistered() &&
		(errors.Is(err, ble.ATTAuthentication) || errors.Is(err, ble.ATTEncryption))
}

// afterError drops the link, as bluetoothd 5.87 does when security is wanted and no agent is there. Unlike bluetoothd
// we have answered the call by then.
func (p *peer) afterError(err error) {
	if p.insecure(err) {
		p.disconnect(nil)
	}
}

// pairError maps the failure of pairing (bluetoothd 5.87, Device1 Pair).
func pairError(err error) dbusError {
	var ce *ble.ConnectError
	switch {
	case errors.Is(err, ble.ErrCanceled), errors.Is(err, ble.ErrNotConnected):
		return errAuthCanceled
	case errors.As(err, &ce):
		return errPageTimeout
	case errors.Is(err, ble.ErrTimeout):
		return errAuthTimeout
	case errors.Is(err, ble.ErrNotSupported): // with the proxy and its version: an upgrade may help
		return dbusError{errNotSupported.name, errNotSupported.message + " (" + err.Error() + ")"}
	}
	return errAuthFailed
}
