package dbusobj

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// raw is a client that sees and sends single messages.
type raw struct {
	t      testing.TB
	sock   *net.UnixConn
	in     *reader
	serial uint32
	name   string
}

func readerOf(t testing.TB, sock *net.UnixConn) *reader {
	t.Helper()
	direct, err := newSocket(sock)
	if err != nil {
		t.Fatal(err)
	}
	return newReader(direct)
}

func newRaw(t testing.TB, addr string) *raw {
	t.Helper()
	sock, err := dialAny(context.Background(), addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &raw{t: t, sock: sock, in: readerOf(t, sock)}
	t.Cleanup(func() { sock.Close(); r.in.close() })
	r.name = r.bus("Hello")[0].(string)
	return r
}

func (r *raw) bus(member string, args ...string) []any {
	r.t.Helper()
	sig := ""
	for range args {
		sig += "s"
	}
	body, _, err := Marshal(sig, func(e *Encoder) {
		for _, a := range args {
			e.String(a)
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	serial := r.send(&outgoing{typ: dbus.TypeMethodCall, dest: busName, path: busPath, iface: busInterface, member: member, sig: sig}, body, nil)
	for {
		m := r.next()
		if m.replySerial == serial {
			values, err := m.result()
			if err != nil {
				r.t.Fatal(err)
			}
			return values
		}
	}
}

func (r *raw) append(b []byte, o *outgoing, body []byte, nfds int) []byte {
	r.serial++
	o.serial = r.serial
	return append(o.appendHeader(b, len(body), nfds), body...)
}

func (r *raw) send(o *outgoing, body []byte, fds []int) uint32 {
	r.t.Helper()
	b := r.append(nil, o, body, len(fds))
	var oob []byte
	if len(fds) > 0 {
		oob = syscall.UnixRights(fds...)
	}
	n, _, err := r.sock.WriteMsgUnix(b, oob, nil)
	if err == nil && n < len(b) {
		_, err = r.sock.Write(b[n:])
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return r.serial
}

func (r *raw) next() *message {
	r.t.Helper()
	_ = r.sock.SetReadDeadline(time.Now().Add(patience))
	for {
		m, err := r.in.next()
		if err != nil {
			r.t.Fatal(err)
		}
		if m.typ != dbus.TypeSignal || m.sender != busName { // NameAcquired
			return m
		}
	}
}

// ping returns when the service has handled all that r sent before.
func (r *raw) ping() {
	r.t.Helper()
	serial := r.send(&outgoing{typ: dbus.TypeMethodCall, dest: testName, path: "/", iface: peerInterface, member: "Ping"}, nil, nil)
	for r.next().replySerial != serial {
	}
}

// call is a call of the test object.
func call(member, sig string) *outgoing {
	return &outgoing{typ: dbus.TypeMethodCall, dest: testName, path: "/o", iface: mainName, member: member, sig: sig}
}

func TestSignalsComeBeforeTheReply(t *testing.T) {
	t.Parallel()
	s := serve(t)
	main := ifaceMain()
	r := newRaw(t, s.addr)
	r.bus("AddMatch", "type='signal',sender='"+testName+"'")
	s.do(func() { s.Add("/o", &thing{}, main) })
	if m := r.next(); m.member != "InterfacesAdded" {
		t.Fatalf("%s comes instead of InterfacesAdded", m.member)
	}
	var order []string
	serial := r.send(call("Signal", ""), nil, nil)
	for {
		m := r.next()
		if m.replySerial == serial {
			break
		}
		order = append(order, m.member)
	}
	if got := fmt.Sprint(order); got != "[PropertiesChanged Happened PropertiesChanged]" {
		t.Errorf("before the reply came %s", got)
	}
	// The same before an error and before a call of ours.
	r.send(call("Hold", ""), nil, nil)
	r.ping() // the call was handled
	s.do(func() {
		o := s.Object("/o")
		o.Changed(main, "Number")
		data(o).hold[0].Error("org.example.Error.No", "")
		o.Changed(main, "Name")
		s.Call(r.name, "/agent", "org.example.Agent1", "Ask", "", nil, 0, nil)
	})
	order = nil
	for len(order) < 4 {
		order = append(order, r.next().member)
	}
	if got := fmt.Sprintf("%q", order); got != `["PropertiesChanged" "" "PropertiesChanged" "Ask"]` {
		t.Errorf("order %s", got)
	}
}

func TestArrivalOrder(t *testing.T) {
	t.Parallel()
	const n = 20000
	s := serve(t)
	s.do(func() { s.Add("/o", &thing{}, ifaceMain()) })
	r := newRaw(t, s.addr)
	kinds := []func(i int) (*outgoing, []byte){
		func(i int) (*outgoing, []byte) {
			return call("Note", "u"), binary.LittleEndian.AppendUint32(nil, uint32(i))
		},
		func(int) (*outgoing, []byte) {
			return &outgoing{typ: dbus.TypeMethodCall, dest: testName, path: "/x", iface: peerInterface, member: "Ping"}, nil
		},
		func(int) (*outgoing, []byte) {
			return &outgoing{typ: dbus.TypeMethodCall, dest: testName, path: "/x", iface: mainName, member: "Note"}, nil
		},
		func(int) (*outgoing, []byte) {
			return &outgoing{typ: dbus.TypeMethodCall, dest: testName, path: "/", iface: introspectableName, member: "Introspect"}, nil
		},
		func(int) (*outgoing, []byte) { return call("Panic", ""), nil },
	}
	first := r.serial + 1
	go func() {
		var b []byte
		serial := first - 1
		for i := range n {
			o, body := kinds[i%len(kinds)](i)
			serial++
			o.serial = serial
			b = append(o.appendHeader(b[:0], len(body), 0), body...)
			if _, err := r.sock.Write(b); err != nil {
				return
			}
		}
	}()
	for i := range uint32(n) {
		m := r.next()
		if m.replySerial != first+i {
			t.Fatalf("reply %d answers call %d", i, m.replySerial-first)
		}
	}
	s.do(func() {
		calls := data(s.Object("/o")).calls
		for i, got := range calls {
			if want := fmt.Sprint(i * len(kinds)); got != want {
				t.Fatalf("call %d was handled as number %d", i, len(calls))
			}
		}
		if len(calls) != n/len(kinds) {
			t.Errorf("%d calls were handled", len(calls))
		}
	})
}

func countFDs(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Not parallel: it counts the file descriptors of the process.
func TestFileDescriptorsDoNotLeak(t *testing.T) {
	const n = 2000
	s := serve(t)
	s.do(func() { s.Add("/o", &thing{}, ifaceMain()) })
	r := newRaw(t, s.addr)
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	fd := int(f.Fd())
	index := []byte{0, 0, 0, 0}
	for _, tt := range []struct {
		name string
		o    *outgoing
		body []byte
		fds  []int
		want string
	}{
		{"taken", call("PutFD", "h"), index, []int{fd}, `[hello]`},
		{"not taken", call("DropFD", "h"), index, []int{fd}, `[]`},
		{"more than h refers to", call("DropFD", "h"), index, []int{fd, fd, fd}, `[]`},
		{"no h at all", call("Note", "u"), index, []int{fd, fd}, `[0]`},
		{"index out of range", call("PutFD", "h"), []byte{7, 0, 0, 0}, []int{fd}, errInvalidArgs},
		{"in a variant", call("Any", "v"), []byte{1, 'h', 0, 0, 0, 0, 0, 0}, []int{fd}, `[h]`},
		{"array in a variant", call("Any", "v"), []byte{2, 'a', 'h', 0, 4, 0, 0, 0, 0, 0, 0, 0}, []int{fd}, errInvalidArgs},
		{"unknown method", call("Bogus", "h"), index, []int{fd}, errUnknownMethod},
		{"peer", &outgoing{typ: dbus.TypeMethodCall, dest: testName, path: "/", iface: peerInterface, member: "Ping", sig: "h"}, index, []int{fd}, `[]`},
		{"ours", call("GetFD", ""), nil, nil, "fd"},
		{"signal to us", &outgoing{typ: dbus.TypeSignal, dest: testName, path: "/", iface: "a.b", member: "C", sig: "h"}, index, []int{fd}, ""},
		{"reply to nothing", &outgoing{typ: dbus.TypeMethodReply, dest: testName, reply: 9999, sig: "v"}, []byte{1, 'h', 0, 0, 0, 0, 0, 0}, []int{fd}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := countFDs(t)
			for range n {
				serial := r.send(tt.o, tt.body, tt.fds)
				if tt.want == "" {
					continue
				}
				m := r.next()
				if m.replySerial != serial {
					t.Fatalf("reply to %d, want %d", m.replySerial, serial)
				}
				if got := len(m.fds); tt.want == "fd" && got != 1 {
					t.Fatalf("%d file descriptors came", got)
				}
				if values, err := m.result(); err == nil && tt.want != "fd" {
					if got := fmt.Sprint(values); got != tt.want {
						t.Fatalf("got %s, want %s", got, tt.want)
					}
				} else if err != nil && err.(dbus.Error).Name != tt.want {
					t.Fatalf("got %v, want %s", err, tt.want)
				}
				m.close()
			}
			// The last signals were handled when a later call was answered.
			r.ping()
			after := countFDs(t)
			for deadline := time.Now().Add(patience); after > before && time.Now().Before(deadline); after = countFDs(t) {
				s.do(func() {}) // the writer closes what it sent soon after
			}
			if after > before {
				t.Errorf("%d file descriptors before, %d after", before, after)
			}
		})
	}
}

func TestNoReplyExpected(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.do(func() { s.Add("/o", &thing{}, ifaceMain()) })
	r := newRaw(t, s.addr)
	for _, o := range []*outgoing{call("Twice", ""), call("Fail", ""), call("Panic", ""), call("Bogus", ""), call("Wrong", ""), call("GetFD", "")} {
		o.flags = flagNoReply
		r.send(o, nil, nil)
	}
	serial := r.send(call("Twice", ""), nil, nil)
	if m := r.next(); m.replySerial != serial {
		t.Errorf("call %d was answered, though without wish for it", m.replySerial)
	}
}

func TestCallsWithoutInterface(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.do(func() { s.Add("/o/x", &thing{}, ifaceMain()) })
	r := newRaw(t, s.addr)
	// What libdbus does, measured with libdbus 1.14.10.
	for _, tt := range []struct{ path, member, want string }{
		{"/o/x", "Hold", errUnknownMethod + `: Method "Hold" with signature "" on interface "(null)" doesn't exist` + "\n"},
		{"/x", "Ping", errUnknownObject + `: Method "Ping" with signature "" on interface "(null)" doesn't exist` + "\n"},
		{"/o", "Introspect", doctype + "<node>\n  <node name=\"x\"/>\n</node>\n"},
		{"/o/x", "Introspect", doctype + "<node>\n</node>\n"},
	} {
		r.send(&outgoing{typ: dbus.TypeMethodCall, dest: testName, path: tt.path, member: tt.member}, nil, nil)
		m := r.next()
		body, err := m.decode()
		if err != nil {
			t.Fatal(err)
		}
		got := body[0].(string)
		if m.typ == dbus.TypeError {
			got = m.errName + ": " + got
		}
		if got != tt.want {
			t.Errorf("%s of %s: got %q, want %q", tt.member, tt.path, got, tt.want)
		}
	}
}

func TestBigEndianCall(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.do(func() { s.Add("/o", &thing{}, ifaceMain()) })
	r := newRaw(t, s.addr)
	be := binary.BigEndian
	b := []byte{'B', 1, 0, 1}
	b = be.AppendUint32(b, 8) // body
	b = be.AppendUint32(b, 77)
	b = be.AppendUint32(b, 0)
	str := func(field, typ byte, v string) {
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		b = append(b, field, 1, typ, 0)
		b = be.AppendUint32(b, uint32(len(v)))
		b = append(append(b, v...), 0)
	}
	str(fieldPath, 'o', "/o")
	str(fieldInterface, 's', mainName)
	str(fieldMember, 's', "Echo")
	str(fieldDestination, 's', testName)
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	b = append(b, fieldSignature, 1, 'g', 0, 1, 's', 0)
	be.PutUint32(b[12:], uint32(len(b)-16))
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	b = be.AppendUint32(b, 3)
	b = append(b, "big\x00"...)
	if _, err := r.sock.Write(b); err != nil {
		t.Fatal(err)
	}
	m := r.next()
	body, err := m.result()
	if err != nil || m.replySerial != 77 || body[0] != "big" {
		t.Errorf("got %v, %v", body, err)
	}
}

func TestLargeMessages(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.do(func() { s.Add("/o", &thing{}, ifaceMain()) })
	r := newRaw(t, s.addr)
	str := func(n int) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(n))
		for range n {
			b = append(b, 'x')
		}
		return append(b, 0)
	}
	const large = maxBody - 8
	r.send(call("Echo", "s"), str(large), nil)
	if body, err := r.next().result(); err != nil || len(body[0].(string)) != large {
		t.Errorf("%d bytes do not come back: %v", large, err)
	}
	r.send(call("Echo", "s"), str(maxBody), nil)
	if _, err := r.next().result(); err == nil || err.(dbus.Error).Name != errLimits {
		t.Errorf("more than %d bytes: %v, want %s", maxBody, err, errLimits)
	}
	r.send(call("Bogus", "s"), str(maxBody), nil)
	if _, err := r.next().result(); err == nil || err.(dbus.Error).Name != errUnknownMethod {
		t.Errorf("unknown method: %v", err)
	}
	r.send(call("Echo", "s"), str(1), nil)
	if _, err := r.next().result(); err != nil {
		t.Errorf("a large message breaks the next: %v", err)
	}
}
