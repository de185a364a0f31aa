package dbusobj

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// longPath is a valid object path of about n bytes.
func longPath(n int) string { return "/" + strings.Repeat("a/", n/2) + "a" }

// Paths have no bound in D-Bus, and the bus lets them through: the connection outlives them, and they cost no memory.
func TestLongPaths(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.do(func() { s.Add("/o", &thing{}, ifaceMain()) })
	r := newRaw(t, s.addr)
	for _, size := range []int{1000, maxFields / 2, maxFields, 2 << 20, 30 << 20} {
		o := call("Echo", "s")
		o.path = longPath(size)
		body, _, err := Marshal("s", func(e *Encoder) { e.String("x") })
		if err != nil {
			t.Fatal(err)
		}
		serial := r.send(o, body, nil)
		m := r.next()
		if _, err := m.result(); m.replySerial != serial || err == nil || err.(dbus.Error).Name != errUnknownObject {
			t.Errorf("a path of %d bytes: %v", size, err)
		}
	}
	r.send(call("Echo", "s"), []byte{1, 0, 0, 0, 'x', 0}, nil)
	if _, err := r.next().result(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// What is left of a long header is what was short in it, of either byte order; what is malformed ends nowhere else.
func TestLongHeaders(t *testing.T) {
	t.Parallel()
	o := &outgoing{typ: dbus.TypeMethodCall, serial: 7, dest: "a.b", path: longPath(1 << 20), iface: "c.d", member: "E", sig: "s"}
	next := &outgoing{typ: dbus.TypeMethodCall, serial: 8, path: "/x", member: "F"}
	long := o.appendHeader(nil, 0, 0)
	for _, tt := range []struct {
		name   string
		spoil  func(b []byte)
		serial uint32
	}{
		{"sound", func([]byte) {}, 7},
		{"a path longer than all", func(b []byte) { copy(b[fixedHeader+4:], []byte{255, 255, 255, 127}) }, 7},
		{"an unknown type", func(b []byte) { b[fixedHeader+2] = 'v' }, 0},
		{"many short fields", func(b []byte) {
			for i := range b[fixedHeader:] {
				b[fixedHeader+i] = "\x03\x01u\x00\x00\x00\x00\x00"[i%8]
			}
		}, 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			near, far := socketPair(t)
			defer near.Close()
			b := bytes.Clone(long)
			tt.spoil(b)
			go func() {
				defer far.Close()
				_, _ = far.Write(next.appendHeader(b, 0, 0))
			}()
			r := readerOf(t, near)
			m, err := r.next()
			if err != nil {
				t.Fatal(err)
			}
			if m.serial != tt.serial || m.path != "" || m.head > fixedHeader+maxFields || cap(r.head) > 8*maxFields {
				t.Errorf("serial %d, path of %d bytes; %d bytes are kept in %d", m.serial, len(m.path), m.head, cap(r.head))
			}
			if tt.name == "sound" && (m.iface != "c.d" || m.member != "E" || m.sig != "s") {
				t.Errorf("%+v", m)
			}
			if m, err := r.next(); err != nil || m.serial != 8 {
				t.Errorf("the next message: %+v, %v", m, err)
			}
		})
	}
}

// Headers count, as they stay in memory like bodies; and when all have too much waiting, only small messages pass.
func TestHeadersCount(t *testing.T) {
	t.Parallel()
	b := newInbox()
	fill := func(sender string, head, body int) (n int) {
		for {
			m := note(sender, "x", body)
			m.head = head
			if ok, _ := b.put(m, nil); !ok {
				return n
			}
			n++
		}
	}
	if n := fill("a", 8<<10, 0); n != maxClientBytes/(8<<10)+1 {
		t.Errorf("%d headers of 8 KiB of one client wait", n)
	}
	for i := range 2 * maxAllBytes / maxClientBytes {
		fill(fmt.Sprint("b", i), 200, 1<<20)
	}
	all := b.bytes
	for i := range 1000 {
		fill(fmt.Sprint("c", i), 200, 500<<10)
		fill(fmt.Sprint("d", i), 200, 1000)
	}
	if n := b.bytes - all; all > maxAllBytes+maxClientBytes || n > 1000*fewMessages*smallMessage {
		t.Errorf("%d bytes wait, and %d more of those who are served even then", all, n)
	}
	drain(b, nilCost)
	if b.bytes != 0 {
		t.Errorf("%d bytes are left", b.bytes)
	}
}
