package dbusobj

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// lengths that do not fit an int of 32 bits, or only just.
var hugeLengths = []uint32{math.MaxInt32 - 8, math.MaxInt32 - 1, math.MaxInt32, math.MaxInt32 + 1, math.MaxUint32 - 1, math.MaxUint32}

// fieldHeader is a header whose only field is a string that says it has n bytes.
func fieldHeader(order binary.AppendByteOrder, mark, field, typ byte, n uint32) []byte {
	fields := order.AppendUint32([]byte{field, 1, typ, 0}, n)
	fields = append(fields, "text\x00"...)
	h := []byte{mark, byte(dbus.TypeMethodCall), 0, 1}
	h = order.AppendUint32(h, 0)
	h = order.AppendUint32(h, 7)
	h = order.AppendUint32(h, uint32(len(fields)))
	return append(h, fields...)
}

// TestHeaderLengths: a length in a header that is larger than the header is an error, whatever an int holds.
func TestHeaderLengths(t *testing.T) {
	for _, n := range hugeLengths {
		if m, err := parseHeader(fieldHeader(binary.LittleEndian, 'l', fieldMember, 's', n)); err == nil {
			t.Errorf("length %d: %+v", n, m)
		}
		if m, err := parseHeader(fieldHeader(binary.BigEndian, 'B', fieldPath, 'o', n)); err == nil {
			t.Errorf("length %d, big-endian: %+v", n, m)
		}
	}
}

// TestLongHeaderLengths: the same where the header is so long that it is shortened as it is read.
func TestLongHeaderLengths(t *testing.T) {
	for _, n := range hugeLengths {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := fieldHeader(binary.LittleEndian, 'l', fieldPath, 'o', n)
			binary.LittleEndian.PutUint32(h[12:], maxFields+8)
			h = append(h, make([]byte, fixedHeader+maxFields+8-len(h))...)
			h = append(h, fieldHeader(binary.LittleEndian, 'l', fieldMember, 's', 4)...)
			h = append(h, 0, 0, 0) // padding
			r := pairReader(t, h)
			if m, err := r.next(); err != nil || m.path != "" {
				t.Errorf("%+v, %v", m, err)
			}
			if m, err := r.next(); err != nil || m.member != "text" {
				t.Errorf("the message behind it: %+v, %v", m, err)
			}
		})
	}
}

// TestDescriptorCount: a message that announces more descriptors than there can be is broken, and takes none from
// others.
func TestDescriptorCount(t *testing.T) {
	for _, n := range append(hugeLengths, fdRoom+1) {
		h := []byte{'l', byte(dbus.TypeMethodCall), 0, 1}
		h = binary.LittleEndian.AppendUint32(h, 0)
		h = binary.LittleEndian.AppendUint32(h, 7)
		h = binary.LittleEndian.AppendUint32(h, 8)
		h = append(h, fieldUnixFDs, 1, 'u', 0)
		h = binary.LittleEndian.AppendUint32(h, n)
		m, err := pairReader(t, h).next()
		if err != nil || m.broken == nil {
			t.Errorf("%d: %+v, %v", n, m, err)
		}
	}
}

// TestBodyLengths: lengths in a body.
func TestBodyLengths(t *testing.T) {
	for _, n := range hugeLengths {
		b := binary.LittleEndian.AppendUint32(nil, n)
		b = append(b, "text\x00"...)
		for _, sig := range []string{"s", "o", "ay", "as", "ao", "a{sv}", "a{oa{sa{sv}}}", "aay"} {
			if v, err := decodeBody(false, sig, b, nil); err == nil {
				t.Errorf("%s of length %d: %v", sig, n, v)
			}
		}
		body := binary.LittleEndian.AppendUint32(nil, n)
		m := &message{typ: dbus.TypeSignal, sender: busName, member: "NameOwnerChanged", sig: "sss", body: append(body, ":1.1\x00"...)}
		if got := m.client(); got != busName {
			t.Errorf("client %q", got)
		}
	}
}

// pairReader reads what is written to the other end of a socket pair.
func pairReader(t *testing.T, b []byte) *reader {
	t.Helper()
	ours, theirs := socketPair(t)
	if err := theirs.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := ours.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	sock, err := newSocket(ours)
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(sock)
	t.Cleanup(r.close)
	return r
}
