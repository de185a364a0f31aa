package dbusobj

import (
	"errors"
	"fmt"
	"slices"

	"github.com/godbus/dbus/v5"
)

// Call is a method call of a client. Whoever handles it must answer it once, with Reply
// or Error, even if the client asked for no answer: that ends the call and closes its
// file descriptors.
type Call struct {
	Sender string          // the client's unique name
	Path   dbus.ObjectPath // the object called
	// Interface is as the client named it, or empty; Member is the method.
	Interface string
	Member    string
	Object    *Object
	// Body is the arguments, of exactly the declared types, as godbus decodes them. Values
	// of type h are file descriptors that belong to the call; see [Call.TakeFD].
	Body []any

	conn     *Conn
	via      *outbox // of the bus that it came from, and takes nothing once that is gone
	serial   uint32
	out      string // the signature of the answer
	fds      []int
	noReply  bool
	answered bool
	number   uint64 // among its sender's calls
	known    bool   // Interface and Member are of a method that we have
}

// TakeFD takes a file descriptor that an argument refers to out of the call, which would
// close it when it is answered. It reports false if the call does not have it.
func (c *Call) TakeFD(fd dbus.UnixFD) (int, bool) {
	n := slices.Index(c.fds, int(fd))
	if n < 0 {
		return -1, false
	}
	c.fds = slices.Delete(c.fds, n, n+1)
	return int(fd), true
}

// Followed says whether the client has made another call after this one, while this one is not answered: such a client
// does not wait for the answer before it goes on. The calls and answers of one client are handled in the order in which
// it sent them.
func (c *Call) Followed() bool {
	return !c.answered && c.conn.open.of[c.Sender].begun > c.number
}

// Reply answers the call; args append the values, together of the method's Out types.
// All that is pending is sent before. A second answer is ignored.
func (c *Call) Reply(args ...func(*Encoder)) {
	if !c.answer() {
		return
	}
	err := c.conn.encode("reply of "+c.Interface+"."+c.Member, c.out, func(e *Encoder) {
		for _, f := range args {
			f(e)
		}
	}, func(body []byte, fds []int) bool {
		return c.send(&outgoing{typ: dbus.TypeMethodReply, sig: c.out}, body, fds)
	})
	if err != nil {
		c.sendError(errFailed, "Internal error")
		return
	}
	c.tell("")
}

// Error answers the call with an error. All that is pending is sent before. A second
// answer is ignored.
func (c *Call) Error(name, message string) {
	if c.answer() {
		c.sendError(name, message)
	}
}

// answer begins the only answer.
func (c *Call) answer() bool {
	if c.answered {
		return false
	}
	c.answered = true
	c.conn.open.end(c.Sender)
	c.conn.Flush()
	closeFDs(c.fds)
	c.fds = nil
	return true
}

func (c *Call) sendError(name, message string) {
	if !validName(name) {
		c.conn.log.Error("cannot send error: invalid name", "name", name)
		name = errFailed
	}
	c.tell(name)
	_ = c.conn.encode("error", "s", func(e *Encoder) { e.String(message) }, func(body []byte, _ []int) bool {
		return c.send(&outgoing{typ: dbus.TypeError, errName: name, sig: "s"}, body, nil)
	})
}

// tell counts the answer.
func (c *Call) tell(errName string) {
	told := c.conn.told
	switch {
	case told == nil:
	case c.known:
		told(c.Interface, c.Member, errName)
	default:
		told("", "", errName)
	}
}

func (c *Call) send(o *outgoing, body []byte, fds []int) (kept bool) {
	if c.noReply {
		closeFDs(fds)
		return false
	}
	o.flags, o.serial, o.reply, o.dest = flagNoReply, c.conn.nextSerial(), c.serial, c.Sender
	return c.via.send(o, body, fds)
}

// handleCall finds who handles a call, in libdbus's order: Peer on every path; the
// object; introspection of what is not an object; else an error.
func (c *Conn) handleCall(m *message) {
	call := &Call{
		Sender: m.sender, Path: dbus.ObjectPath(m.path), Interface: m.iface, Member: m.member,
		conn: c, via: c.out, serial: m.serial, noReply: m.flags&flagNoReply != 0,
	}
	var ok bool
	call.number, ok = c.open.begin(m.sender)
	if !ok {
		call.Error(errLimits, tooManyCalls)
		return
	}
	if m.iface == peerInterface {
		call.peer()
		return
	}
	node := c.tree.called(m.path)
	if node != nil && node.live && m.iface != "" {
		call.Object = node
		if i := node.named(m.iface); i != nil {
			for n := range i.Methods {
				if method := &i.Methods[n]; method.Name == m.member && i.in[n] == m.sig {
					call.out, call.known = i.out[n], true
					call.run(m, method)
					return
				}
			}
		}
	}
	if m.member == "Introspect" && (m.iface == "" || m.iface == introspectableName) {
		introspectNothing(call, node)
		return
	}
	name, iface := errUnknownObject, m.iface
	if node != nil {
		name = errUnknownMethod
	}
	if iface == "" {
		iface = "(null)" // as C prints it
	}
	call.Error(name, fmt.Sprintf("Method \"%s\" with signature \"%s\" on interface \"%s\" doesn't exist\n", m.member, m.sig, iface))
}

func (c *Call) peer() {
	switch c.Member {
	case "Ping":
		c.known = true
		c.Reply()
	case "GetMachineId":
		c.known = true
		c.out = "s"
		c.Reply(func(e *Encoder) { e.String(machineID()) })
	default:
		c.Error(errUnknownMethod, "Unknown method invoked on org.freedesktop.DBus.Peer interface")
	}
}

func (c *Call) run(m *message, method *Method) {
	body, err := m.decode()
	if err != nil {
		c.conn.log.Debug("bad call", "sender", c.Sender, "path", c.Path, "interface", c.Interface, "member", c.Member, "error", err)
		if errors.Is(err, errTooLarge) {
			c.Error(errLimits, "Message is too large")
		} else {
			c.Error(errInvalidArgs, "Invalid arguments in method call")
		}
		return
	}
	c.Body, c.fds, m.fds = body, m.fds, nil
	if err := c.conn.guard(c.Interface+"."+c.Member, func() { method.Call(c) }); err != nil {
		c.Error(errFailed, "Internal error")
	}
}
