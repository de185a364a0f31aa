package dbusobj

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/godbus/dbus/v5"

	"bluez-esphome/internal/lockorder"
)

// The message bus itself (D-Bus specification, Message Bus Messages).
const (
	busName      = "org.freedesktop.DBus"
	busPath      = "/org/freedesktop/DBus"
	busInterface = "org.freedesktop.DBus"
)

// asks are calls to the bus whose answers go to a waiting goroutine past the loop, so
// that they work before Run. It is goroutine-safe.
type asks struct {
	mu   lockorder.Mutex[lockorder.Leaf]
	open map[uint32]chan<- *message
}

// answer passes m to the goroutine that waits for it. It reports false if none does.
func (a *asks) answer(m *message) bool {
	if m.replySerial == 0 || m.sender != busName || m.typ != dbus.TypeMethodReply && m.typ != dbus.TypeError {
		return false
	}
	a.mu.Lock()
	ch, ok := a.open[m.replySerial]
	delete(a.open, m.replySerial)
	a.mu.Unlock()
	if ok {
		ch <- m // never blocks: size 1, one answer
	}
	return ok
}

func (a *asks) set(serial uint32, ch chan<- *message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		a.open = make(map[uint32]chan<- *message)
	}
	if ch == nil {
		delete(a.open, serial)
	} else {
		a.open[serial] = ch
	}
}

// ask calls a method of the bus and waits for the answer.
func (w *wire) ask(ctx context.Context, serial uint32, member, sig string, args func(*Encoder)) ([]any, error) {
	if args == nil {
		args = func(*Encoder) {}
	}
	body, _, err := Marshal(sig, args)
	if err != nil {
		return nil, err
	}
	ch := make(chan *message, 1)
	w.asked.set(serial, ch)
	defer w.asked.set(serial, nil)
	w.out.send(&outgoing{
		typ: dbus.TypeMethodCall, serial: serial, dest: busName, path: busPath,
		iface: busInterface, member: member, sig: sig,
	}, body, nil)
	w.out.kick()
	select {
	case m := <-ch:
		defer m.close()
		return m.result()
	case <-w.dead:
		return nil, fmt.Errorf("cannot call %s of the bus: %w", member, w.cause)
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot call %s of the bus: %w", member, ctx.Err())
	}
}

// result is the content of a reply, or a dbus.Error for an error message.
func (m *message) result() ([]any, error) {
	body, err := m.decode()
	if m.typ == dbus.TypeError {
		return nil, dbus.Error{Name: m.errName, Body: body}
	}
	return body, err
}

// NameTakenError says who owns the name that was asked for.
type NameTakenError struct {
	Name    string // the name that was asked for
	Owner   string // the unique name of its owner, empty if unknown
	PID     uint32 // the owner's process, 0 if unknown
	Command string // its command line, empty if unknown
}

// Error names the process.
func (e *NameTakenError) Error() string {
	s := fmt.Sprintf("cannot own name %s: it is taken", e.Name)
	if e.Owner != "" {
		s += " by " + e.Owner
	}
	if e.PID != 0 {
		s += fmt.Sprintf(" (pid %d: %s)", e.PID, e.Command)
	}
	return s
}

// Answers of RequestName and its flag (D-Bus specification).
const (
	nameFlagDoNotQueue  = 4
	namePrimaryOwner    = 1
	nameAlreadyOwner    = 4
	commandLengthToShow = 4096
)

// RequestName asks for a well-known name, without queueing for it and without replacing
// its owner. If it is taken, the error is a [*NameTakenError]. It may be called before
// Run as well as from any goroutine but the loop during it.
func (c *Conn) RequestName(ctx context.Context, name string) error {
	w := c.wire.Load()
	if w == nil {
		return fmt.Errorf("cannot own name %s: %w", name, ErrClosed)
	}
	return c.requestName(ctx, w, name)
}

func (c *Conn) requestName(ctx context.Context, w *wire, name string) error {
	body, err := w.ask(ctx, c.nextSerial(), "RequestName", "su", func(e *Encoder) {
		e.String(name)
		e.Uint32(nameFlagDoNotQueue)
	})
	if err != nil {
		return fmt.Errorf("cannot own name %s: %w", name, err)
	}
	if code, _ := one[uint32](body); code == namePrimaryOwner || code == nameAlreadyOwner {
		return nil
	}
	taken := &NameTakenError{Name: name}
	str := func(v string) func(*Encoder) { return func(e *Encoder) { e.String(v) } }
	body, err = w.ask(ctx, c.nextSerial(), "GetNameOwner", "s", str(name))
	if err != nil {
		return taken
	}
	taken.Owner, _ = one[string](body)
	body, err = w.ask(ctx, c.nextSerial(), "GetConnectionUnixProcessID", "s", str(taken.Owner))
	if err != nil {
		return taken
	}
	pid, _ := one[uint32](body)
	return TakenBy(name, taken.Owner, pid)
}

// TakenBy makes the error for a name that the connection called owner has, of the process with that id, 0 if unknown.
func TakenBy(name, owner string, pid uint32) *NameTakenError {
	e := &NameTakenError{Name: name, Owner: owner, PID: pid}
	if pid != 0 {
		e.Command = commandLine(pid)
	}
	return e
}

func commandLine(pid uint32) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(b) == 0 {
		b, _ = os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	}
	b = b[:min(len(b), commandLengthToShow)]
	return strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
}

// ReleaseName gives a name back.
func (c *Conn) ReleaseName(ctx context.Context, name string) error {
	w := c.wire.Load()
	if w == nil {
		return nil // nobody owns anything on a bus that is gone
	}
	_, err := w.ask(ctx, c.nextSerial(), "ReleaseName", "s", func(e *Encoder) { e.String(name) })
	if err != nil {
		return fmt.Errorf("cannot release name %s: %w", name, err)
	}
	return nil
}
