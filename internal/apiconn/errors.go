package apiconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
)

// ErrStopped: Stop was called.
var ErrStopped = errors.New("asked to stop")

// ErrStarted: Start or Run was called before.
var ErrStarted = errors.New("cannot start proxy: it was started before")

// errOffline is what a call gets without a session.
var errOffline = fmt.Errorf("the proxy is offline: %w", ble.ErrNotConnected)

// ResolveError: the name of the proxy has no address.
type ResolveError struct {
	Host string
	Err  error
}

func (e *ResolveError) Error() string {
	return fmt.Sprintf("cannot resolve %s: %v; check the name, or configure the IP address", e.Host, cause(e.Err))
}

func (e *ResolveError) Unwrap() error { return e.Err }

// DialError: no address of the proxy accepts a connection.
type DialError struct {
	Target string // host or host:port
	Err    error
}

func (e *DialError) Error() string {
	return fmt.Sprintf("cannot connect to %s: %v; check that the device is powered and on the network, and that its ESPHome configuration has api:", e.Target, cause(e.Err))
}

func (e *DialError) Unwrap() error { return e.Err }

// cause is an error of package net without the address, which the message around it has, and without the names of
// system calls: an administrator reads "connection refused", not "dial tcp 10.0.0.9:6053: connect: connection refused".
// Of several addresses it has each cause once.
func cause(err error) string {
	var (
		op   *net.OpError
		sys  *os.SyscallError
		dns  *net.DNSError
		many interface{ Unwrap() []error }
	)
	switch {
	case errors.As(err, &many):
		var out []string
		for _, e := range many.Unwrap() {
			if c := cause(e); !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
		return strings.Join(out, ", ")
	case errors.As(err, &dns):
		return dns.Err
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &sys):
		return sys.Err.Error()
	case errors.As(err, &op) && op.Err != nil:
		return op.Err.Error()
	}
	return err.Error()
}

// ClosedError: the connection ended unannounced.
type ClosedError struct {
	Err   error
	Early bool // before the device said hello
}

func (e *ClosedError) Error() string {
	if e.Early {
		return fmt.Sprintf("the device closed the connection before it said hello (%v): it may have too many API clients, or want encryption", e.Err)
	}
	return fmt.Sprintf("the connection was lost (%v): check the device's power and network", e.Err)
}

func (e *ClosedError) Unwrap() error { return e.Err }

// SilentError: nothing was received, not even the answer to a ping.
type SilentError struct{ For time.Duration }

func (e *SilentError) Error() string {
	return fmt.Sprintf("nothing was heard from the device for %v: check its power and network", e.For.Round(time.Second))
}

// NoAnswerError: the device did not answer a message of the bring-up, or, with no message named, not the
// encryption handshake.
type NoAnswerError struct{ To apiwire.ID }

func (e *NoAnswerError) Error() string {
	if e.To == 0 {
		return "the device accepted the connection but did not finish the encryption handshake: it may be overloaded, or something else answers at this address; restart it if this persists"
	}
	return fmt.Sprintf("the device did not answer %v: it may be overloaded; restart it if this persists", e.To)
}

// NameError: another device answers at the address.
type NameError struct{ Want, Got string }

func (e *NameError) Error() string {
	return fmt.Sprintf("the address belongs to %s, not to %s: correct the address, or name: in the configuration",
		apiwire.Printable(e.Got, 32), e.Want)
}

// MACError: another device answers at the address.
type MACError struct{ Want, Got string }

func (e *MACError) Error() string {
	return fmt.Sprintf("the address belongs to the device with MAC %s, not %s: correct the address, or mac: in the configuration",
		apiwire.MAC(e.Got), apiwire.MAC(e.Want))
}

// RefusedError: the device is not to be used, for a reason of the program's own.
type RefusedError struct {
	Why string
	// Final: there is no further attempt before Reconsider.
	Final bool
}

func (e *RefusedError) Error() string { return e.Why }

// VersionError: the device speaks a native API that we don't know.
type VersionError struct{ Major, Minor uint32 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("the device speaks native API %d.%d, which is not supported: update bluez-esphome", e.Major, e.Minor)
}

// PasswordError: the device refused the API password.
type PasswordError struct{}

func (*PasswordError) Error() string {
	return "the device refused the API password: set password to that of its ESPHome configuration"
}

// AuthFailure is true: only another password helps.
func (*PasswordError) AuthFailure() bool { return true }

// PeerDisconnectError: the device announced that it closes the session, as it
// does for updates and restarts.
type PeerDisconnectError struct{ Reason int32 }

// reasonProvisioning is the reason that a device gives that keeps its API closed until it has a key (ESPHome native
// API, DisconnectReason).
const reasonProvisioning = 1

func (e *PeerDisconnectError) Error() string {
	if e.Reason == reasonProvisioning {
		return "the device waits for its encryption key and closes the session until it has one: restart it and run bluez-esphome provision, which gives it one, or set api: encryption: key: in its ESPHome configuration, and noise_psk here"
	}
	return "the device closed the session, as it does for a restart or an update"
}

// AuthFailure is true for a device that waits for a key: until it has one, it closes each session.
func (e *PeerDisconnectError) AuthFailure() bool { return e.Reason == reasonProvisioning }

// DamagedError: a frame of an encrypted session could not be decrypted, for the first time within a minute. It was
// damaged on its way: a wrong key is noticed in the handshake.
type DamagedError struct{}

func (*DamagedError) Error() string {
	return "a frame could not be decrypted: it was damaged on the way; if it happens again, look for something that alters the connection"
}

// ConflictError: another API client works with the proxy, and on_conflict is yield. It has the subscription, or
// connection slots are in use that are not ours.
type ConflictError struct {
	Addresses []ble.Address // none from firmware before 2025.2
	Slots     int           // how many; 0: only the subscription tells
}

func (e *ConflictError) Error() string {
	const remedy = "remove the proxy there, share it from here, take it with bluez-esphome take, or set on_conflict: retake"
	if e.Slots == 0 {
		return "another host (Home Assistant?) uses this proxy: " + remedy
	}
	list := []string{fmt.Sprintf("%d of its connection slots", e.Slots)}
	if len(e.Addresses) > 0 {
		list = nil
	}
	for _, a := range e.Addresses {
		list = append(list, a.String())
	}
	return fmt.Sprintf("another host (Home Assistant?) uses this proxy for %s: %s; if no other host does, a slot is stuck: restart the proxy",
		strings.Join(list, ", "), remedy)
}

// DisplacedError: the session is up, but another API client has the subscription.
type DisplacedError struct{ why string }

func (e *DisplacedError) Error() string { return e.why }

// DeafError: the session is up, but no advertisements come any more.
type DeafError struct{ why string }

func (e *DeafError) Error() string { return e.why }

// ConnectFailedError: the proxy answered a connection request with
// connected=false.
type ConnectFailedError struct {
	Address ble.Address
	Code    int32
}

func (e *ConnectFailedError) Error() string {
	return fmt.Sprintf("cannot connect to %v: %s", e.Address, connectText(e.Code))
}

// ConnectCode is message 69's error: an HCI or GATT code, 0 with no free slot.
func (e *ConnectFailedError) ConnectCode() int32 { return e.Code }

func connectText(code int32) string {
	switch code {
	case 0:
		return "the proxy refused, as it does without a free connection slot"
	case 0x01:
		return "L2CAP failure (0x01)"
	case 0x08:
		return "supervision timeout (0x08)"
	case 0x13:
		return "the peripheral ended the connection (0x13)"
	case 0x16:
		return "the proxy ended the connection (0x16)"
	case 0x22:
		return "link layer response timeout (0x22)"
	case 0x3e:
		return "the connection was not established (0x3e)"
	case 0x85:
		return "GATT error (0x85)"
	case 0x100:
		return "the attempt was cancelled or ran out of time (0x100)"
	case 0x101:
		return "there was no attempt to cancel (0x101)"
	}
	return fmt.Sprintf("code %#x", code)
}

// StackError is an error number of the proxy's own stack, outside of ATT's.
type StackError struct{ Code int32 }

// GATTCode is the number as message 82 carries it.
func (e *StackError) GATTCode() int32 { return e.Code }

func (e *StackError) Error() string {
	if e.Code == -2 {
		return "the proxy is out of storage"
	}
	return fmt.Sprintf("error %d (%#x) of the proxy's stack", e.Code, e.Code)
}

// codeError gives the meaning of an error field of a GATT answer. ATT's
// numbers and those of ESP's GATT stack share one space; both pass as ble.ATTError.
func codeError(code int32) error {
	switch {
	case code == -1:
		return ble.ErrNotConnected
	case code > 0 && code <= 0xff:
		return ble.ATTError(code)
	}
	return &StackError{Code: code}
}
