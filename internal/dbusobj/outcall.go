package dbusobj

import (
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// TimeoutError is the error of a call that was not answered in time.
type TimeoutError struct {
	Dest, Member string
	After        time.Duration
}

// Error names the call.
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("cannot call %s of %s: no answer within %s", e.Member, e.Dest, e.After)
}

// Timeout is true.
func (e *TimeoutError) Timeout() bool { return true }

// outCall is a call of ours that waits for its answer.
type outCall struct {
	dest, member string
	timer        *time.Timer
	done         func(body []any, err error)
}

// Call calls a method of another connection, after sending all that is pending; args
// appends the arguments, of the types in sig, and may be nil if there are none. done is
// called in the loop, once, never before Call returned, with the arguments of the reply
// or an error: a dbus.Error from the other side, a [*TimeoutError], [ErrClosed], or what
// is wrong with the message. File descriptors in body are closed when done returns.
// A timeout of 0 means none; done nil means that no reply is wanted.
func (c *Conn) Call(dest string, path dbus.ObjectPath, iface, member, sig string, args func(*Encoder), timeout time.Duration, done func(body []any, err error)) {
	c.Flush()
	serial := c.nextSerial()
	err := fmt.Errorf("cannot call %s of %s: invalid destination or name", member, dest)
	if validDest(dest) && validPath(string(path)) && validMember(member) && (iface == "" || validName(iface)) && validSignature(sig) {
		err = c.encode("call of "+member, sig, args, func(body []byte, fds []int) bool {
			o := &outgoing{
				typ: dbus.TypeMethodCall, serial: serial, dest: dest,
				path: string(path), iface: iface, member: member, sig: sig,
			}
			if done == nil {
				o.flags = flagNoReply
			}
			return c.out.send(o, body, fds)
		})
	}
	if done == nil {
		return
	}
	if err != nil {
		c.Post(func() { done(nil, err) })
		return
	}
	call := &outCall{dest: dest, member: member, done: done}
	c.calls[serial] = call
	if timeout > 0 {
		call.timer = time.AfterFunc(timeout, func() {
			c.Post(func() { c.finishCall(serial, nil, &TimeoutError{dest, member, timeout}) })
		})
	}
}

// validDest says whether s can be a bus name.
func validDest(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isWord(c) && c != '.' && c != '-' && (c != ':' || i > 0) {
			return false
		}
	}
	return true
}

func (c *Conn) finishCall(serial uint32, body []any, err error) {
	call := c.calls[serial]
	if call == nil {
		return
	}
	delete(c.calls, serial)
	if call.timer != nil {
		call.timer.Stop()
	}
	_ = c.guard("answer of "+call.member, func() { call.done(body, err) })
}

// handleReply takes an answer only from whom the call went to: any client may send us
// one. The bus itself answers for a destination that it does not have.
func (c *Conn) handleReply(m *message) {
	call := c.calls[m.replySerial]
	if call == nil || m.sender != busName && (call.dest[0] == ':' && m.sender != call.dest || call.dest == busName) {
		return
	}
	body, err := m.result()
	c.finishCall(m.replySerial, body, err)
}
