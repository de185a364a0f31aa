package bluezshim_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"bluez-esphome/internal/dbusobj"

	"github.com/godbus/dbus/v5"
)

const busName = "org.freedesktop.DBus"

// fakeBus is a bus played by a fuzz target: it sends the shim any message as any client, answers what the shim calls,
// and looks at all that comes back with the eyes of dbus-daemon, which would disconnect who sends something malformed.
type fakeBus struct {
	t    testing.TB
	sock *net.UnixConn
	// answer gives the reply to a call of ours to a client: body nil is an error, ok false no answer.
	answer func(m *dbus.Message) (sig string, body []byte, ok bool)

	mu      sync.Mutex
	serial  uint32
	waiting map[uint32]string // calls without an answer, and the signature that the answer has to have, "?" any
	settled chan struct{}     // size 1: nothing waits any more
	fds     []int             // received
	faults  []string
	replies map[uint32]*dbus.Message // of calls made with ask
	ended   chan struct{}
}

// fdReader reads a socket and keeps the descriptors that come.
type fdReader struct {
	b   *fakeBus
	oob [1024]byte
}

func (r *fdReader) Read(p []byte) (int, error) {
	n, oobn, _, _, err := r.b.sock.ReadMsgUnix(p, r.oob[:])
	if oobn > 0 {
		msgs, _ := syscall.ParseSocketControlMessage(r.oob[:oobn])
		for _, m := range msgs {
			fds, _ := syscall.ParseUnixRights(&m)
			r.b.mu.Lock()
			r.b.fds = append(r.b.fds, fds...)
			r.b.mu.Unlock()
		}
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// listenBus gives an address at which the next connection is taken by accept.
func listenBus(t testing.TB) (address string, accept func() *fakeBus) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix"}) // takes an abstract name of the kernel's choice
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return "unix:abstract=" + strings.TrimPrefix(l.Addr().String(), "@"), func() *fakeBus {
		sock, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		b := &fakeBus{
			sock: sock, waiting: map[uint32]string{}, settled: make(chan struct{}, 1),
			replies: map[uint32]*dbus.Message{}, ended: make(chan struct{}),
		}
		go b.serve()
		return b
	}
}

func (b *fakeBus) serve() {
	defer close(b.ended)
	in := bufio.NewReader(&fdReader{b: b})
	for {
		line, err := in.ReadString('\n')
		line = strings.TrimRight(strings.TrimLeft(line, "\x00"), "\r\n")
		answer := map[string]string{"AUTH": "OK 0123456789abcdef0123456789abcdef\r\n", "NEGOTIATE_UNIX_FD": "AGREE_UNIX_FD\r\n"}[strings.Fields(line + " x")[0]]
		if err != nil {
			return
		}
		if line == "BEGIN" {
			break
		}
		if _, err := b.sock.Write([]byte(answer)); err != nil {
			return
		}
	}
	for {
		m, err := dbus.DecodeMessageWithFDs(in, nil)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrUnexpectedEOF) {
				b.fault("the shim sent something that cannot be decoded: %v", err)
			}
			return
		}
		b.received(m)
	}
}

func (b *fakeBus) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.faults) < 10 {
		b.faults = append(b.faults, fmt.Sprintf(format, args...))
	}
}

func headerString(m *dbus.Message, f dbus.HeaderField) string {
	switch v := m.Headers[f].Value().(type) {
	case string:
		return v
	case dbus.ObjectPath:
		return string(v)
	case dbus.Signature:
		return v.String()
	}
	return ""
}

var (
	validErrorName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$`)
	validPath      = regexp.MustCompile(`^(/|(/[A-Za-z0-9_]+)+)$`)
)

func (b *fakeBus) received(m *dbus.Message) {
	if err := wellFormed(reflect.ValueOf(m.Body)); err != "" {
		b.fault("%v %s: %s", m.Type, headerString(m, dbus.FieldMember), err)
	}
	if err := m.IsValid(); err != nil {
		b.fault("%v: %v", m.Headers, err)
	}
	switch m.Type {
	case dbus.TypeMethodCall:
		b.called(m)
	case dbus.TypeMethodReply, dbus.TypeError:
		serial, _ := m.Headers[dbus.FieldReplySerial].Value().(uint32)
		b.mu.Lock()
		want, ok := b.waiting[serial]
		delete(b.waiting, serial)
		if _, asked := b.replies[serial]; asked {
			b.replies[serial] = m
		}
		if len(b.waiting) == 0 {
			signal(b.settled)
		}
		b.mu.Unlock()
		name := headerString(m, dbus.FieldErrorName)
		switch {
		case !ok:
			b.fault("an answer to %d, which nobody awaits: %v", serial, m)
		case m.Type == dbus.TypeError && !validErrorName.MatchString(name):
			b.fault("error name %q", name)
		case m.Type == dbus.TypeMethodReply && want != "?" && headerString(m, dbus.FieldSignature) != want:
			b.fault("a reply with %q, want %q: %v", headerString(m, dbus.FieldSignature), want, m)
		}
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// called answers a call of the shim's.
func (b *fakeBus) called(m *dbus.Message) {
	sig, body, ok := "", []byte{}, true
	switch {
	case headerString(m, dbus.FieldDestination) != busName:
		sig, body, ok = b.answer(m)
	case headerString(m, dbus.FieldMember) == "Hello":
		sig, body = "s", encode("s", func(e *dbusobj.Encoder) { e.String(":1.1") })
	case headerString(m, dbus.FieldMember) == "GetNameOwner":
		sig, body = "s", encode("s", func(e *dbusobj.Encoder) { e.String(m.Body[0].(string)) })
	}
	if !ok || m.Flags&dbus.FlagNoReplyExpected != 0 {
		return
	}
	h := map[byte]any{7: headerString(m, dbus.FieldDestination), 5: m.Serial()}
	typ := byte(dbus.TypeMethodReply)
	if sig != "" {
		h[8] = dbus.ParseSignatureMust(sig)
	}
	if body == nil {
		delete(h, 8)
		typ, h[4] = byte(dbus.TypeError), "org.example.Error.Odd"
	}
	b.send(typ, 1, h, body, nil, "")
}

func encode(sig string, f func(*dbusobj.Encoder)) []byte {
	body, _, err := dbusobj.Marshal(sig, f)
	if err != nil {
		panic(err)
	}
	return body
}

// send sends a message; its fields are by their numbers (D-Bus specification, Header Fields). want is the signature
// that the answer has to have if it is no error.
func (b *fakeBus) send(typ, flags byte, fields map[byte]any, body []byte, fds []int, want string) uint32 {
	le := binary.LittleEndian
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serial++
	out := append([]byte{'l', typ, flags, 1}, make([]byte, 12)...)
	le.PutUint32(out[4:], uint32(len(body)))
	le.PutUint32(out[8:], b.serial)
	if len(fds) > 0 {
		fields[9] = uint32(len(fds))
	}
	for n := byte(1); n <= 9; n++ {
		v, ok := fields[n]
		if !ok {
			continue
		}
		for len(out)%8 != 0 {
			out = append(out, 0)
		}
		str := func(typ byte, s string) {
			out = append(out, n, 1, typ, 0)
			out = append(le.AppendUint32(out, uint32(len(s))), s...)
			out = append(out, 0)
		}
		switch v := v.(type) {
		case string:
			str('s', v)
		case dbus.ObjectPath:
			str('o', string(v))
		case dbus.Signature:
			out = append(out, n, 1, 'g', 0, byte(len(v.String())))
			out = append(append(out, v.String()...), 0)
		case uint32:
			out = le.AppendUint32(append(out, n, 1, 'u', 0), v)
		}
	}
	le.PutUint32(out[12:], uint32(len(out)-16))
	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	if typ == byte(dbus.TypeMethodCall) && flags&1 == 0 {
		b.waiting[b.serial] = want
	}
	if _, _, err := b.sock.WriteMsgUnix(out, syscall.UnixRights(fds...), nil); err == nil && len(body) > 0 {
		_, _ = b.sock.Write(body) // the other end may be gone
	}
	return b.serial
}

// call sends a call of a client.
func (b *fakeBus) call(sender string, path dbus.ObjectPath, iface, member, sig string, body []byte, fds []int, want string, flags byte) uint32 {
	h := map[byte]any{1: path, 3: member, 6: "org.bluez", 7: sender}
	if iface != "" {
		h[2] = iface
	}
	if sig != "" {
		h[8] = dbus.ParseSignatureMust(sig)
	}
	return b.send(byte(dbus.TypeMethodCall), flags, h, body, fds, want)
}

// ask makes a call without arguments and gives its answer.
func (b *fakeBus) ask(sender string, path dbus.ObjectPath, iface, member string) *dbus.Message {
	b.t.Helper()
	b.mu.Lock()
	b.replies[b.serial+1] = nil
	b.mu.Unlock()
	serial := b.call(sender, path, iface, member, "", nil, nil, "?", 0)
	b.settle()
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.replies[serial]
	delete(b.replies, serial)
	return m
}

// settle waits until every call has been answered, and fails for what was wrong.
func (b *fakeBus) settle() {
	b.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		b.mu.Lock()
		n, faults := len(b.waiting), b.faults
		b.mu.Unlock()
		if len(faults) > 0 {
			b.t.Fatal(strings.Join(faults, "\n"))
		}
		if n == 0 {
			return
		}
		select {
		case <-b.settled:
		case <-b.ended:
			b.t.Fatal("the shim left the bus")
		case <-timeout.C:
			b.t.Fatalf("%d calls were not answered", n)
		}
	}
}

// leaves tells the shim that a client left the bus.
func (b *fakeBus) leaves(client string) {
	b.send(byte(dbus.TypeSignal), 1, map[byte]any{
		1: dbus.ObjectPath("/org/freedesktop/DBus"), 2: busName, 3: "NameOwnerChanged", 7: busName, 8: dbus.ParseSignatureMust("sss"),
	}, encode("sss", func(e *dbusobj.Encoder) { e.String(client); e.String(client); e.String("") }), nil, "")
}

func (b *fakeBus) closeFDs() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fd := range b.fds {
		_ = syscall.Close(fd)
	}
	b.fds = nil
}

// wellFormed says what a bus would not let through in decoded values.
func wellFormed(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Interface:
		return wellFormed(v.Elem())
	case reflect.String:
		s := v.String()
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return fmt.Sprintf("string %q", s)
		}
		if v.Type() == reflect.TypeFor[dbus.ObjectPath]() && !validPath.MatchString(s) {
			return fmt.Sprintf("object path %q", s)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return ""
		}
		for i := range v.Len() {
			if s := wellFormed(v.Index(i)); s != "" {
				return s
			}
		}
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			if s := wellFormed(i.Key()) + wellFormed(i.Value()); s != "" {
				return s
			}
		}
	case reflect.Struct:
		if variant, ok := v.Interface().(dbus.Variant); ok {
			return wellFormed(reflect.ValueOf(variant.Value()))
		}
	}
	return ""
}
