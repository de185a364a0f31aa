package dbusobj

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var sameValues = cmp.Options{cmpopts.EquateNaNs(), cmp.AllowUnexported(dbus.Variant{}, dbus.Signature{})}

// reencode encodes a body as godbus does, nil if it cannot be.
func reencode(order binary.ByteOrder, sig string, values []any) []byte {
	m := &dbus.Message{Type: dbus.TypeMethodReply, Body: values, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(uint32(1)), dbus.FieldSignature: dbus.MakeVariant(dbus.ParseSignatureMust(sig)),
	}}
	var b bytes.Buffer
	if _, err := m.EncodeToWithFDs(&b, order); err != nil {
		return nil
	}
	return b.Bytes()[b.Len()-int(order.Uint32(b.Bytes()[4:])):]
}

// FuzzBody: no body makes the decoder panic; what our own decodes, godbus decodes to the same, and what godbus would
// send, our own decodes.
func FuzzBody(f *testing.F) {
	f.Add("a{sv}", []byte{0, 0, 0, 0}, false)
	f.Add("aha{sh}v", make([]byte, 64), true)
	f.Add("a{vs}", []byte{1, 0, 0, 0, 0, 0, 0, 0, 1}, true)
	f.Add("ybnqiuxtdsogh", make([]byte, 96), false)
	body, _, err := Marshal("aya{sv}asaov", func(e *Encoder) {
		e.Bytes([]byte{1, 2, 3})
		e.Array("{sv}", func() {
			e.Entry(func() { e.String("offset"); e.Variant("q", func() { e.Uint16(7) }) })
			e.Entry(func() { e.String("type"); e.Variant("s", func() { e.String("command") }) })
		})
		e.Strings([]string{"a", "Ω"})
		e.Array("o", func() { e.ObjectPath("/a"); e.ObjectPath("/") })
		e.Variant("v", func() { e.Variant("d", func() { e.Double(math.NaN()) }) })
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("aya{sv}asaov", body, false)
	f.Fuzz(func(t *testing.T, sig string, body []byte, big bool) {
		fds := []int{3, 4}
		_, _ = decodeBody(big, sig, body, fds)
		if !validSignature(sig) || sig == "" {
			return
		}
		kept := bytes.Clone(body)
		got, err := decodeCommon(big, sig, body, fds)
		if errors.Is(err, errUncommon) {
			return
		}
		want, werr := decodeAny(big, sig, body, fds)
		if !bytes.Equal(kept, body) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			order := binary.ByteOrder(binary.LittleEndian)
			if big {
				order = binary.BigEndian
			}
			if werr == nil && bytes.Equal(reencode(order, sig, want), body) {
				t.Fatalf("%s %x: %v, though valid", sig, body, err)
			}
			return
		}
		if werr != nil {
			t.Fatalf("%s %x: godbus: %v", sig, body, werr)
		}
		if d := cmp.Diff(want, got, sameValues); d != "" {
			t.Fatalf("%s %x: %s", sig, body, d)
		}
	})
}

// What a bus lets nobody send is rejected, also what godbus takes.
func TestDecodeRejects(t *testing.T) {
	for _, c := range []struct{ sig, body, what string }{
		{"s", "\x01\x00\x00\x00a", "no NUL at the end"},
		{"s", "\x01\x00\x00\x00ab", "another end"},
		{"s", "\x02\x00\x00\x00a\x00\x00", "NUL inside"},
		{"s", "\x01\x00\x00\x00\xff\x00", "no UTF-8"},
		{"s", "\xff\xff\xff\xff\x00", "length -1"},
		{"s", "\xff\xff\xff\x7f\x00", "length of 2 GiB"},
		{"o", "\x01\x00\x00\x00a\x00", "no path"},
		{"g", "\x01(\x00", "no signature"},
		{"g", "\x05y\x00", "signature cut"},
		{"b", "\x02\x00\x00\x00", "neither true nor false"},
		{"u", "\x02\x00\x00", "cut"},
		{"yu", "\x02\x01\x00\x00\x01\x00\x00\x00", "padding"},
		{"y", "\x02\x01", "more than there should be"},
		{"ay", "\x02\x00\x00\x00\x01", "array cut"},
		{"ay", "\xff\xff\xff\xff\x01", "array of 4 GiB"},
		{"as", "\x05\x00\x00\x00\x01\x00\x00\x00a\x00", "element beyond the array"},
		{"v", "\x00\x00", "variant of nothing"},
		{"v", "\x02yy\x00\x00\x00", "variant of two"},
		{"a{sv}", "\x01\x00\x00\x00\x00\x00\x00\x00\x00", "entry cut"},
	} {
		if v, err := decodeBody(false, c.sig, []byte(c.body), nil); err == nil || errors.Is(err, errUncommon) {
			t.Errorf("%s: %s gives %v, error %v", c.what, c.sig, v, err)
		}
	}
}

// Variants nest as deep as D-Bus lets them, through godbus, and no deeper.
func TestDecodeDeepVariants(t *testing.T) {
	for _, depth := range []int{1, maxVariants, maxVariants + 1, 60, 70} {
		body := []byte(strings.Repeat("\x01v\x00", depth) + "\x01y\x00\x07")
		v, err := decodeBody(false, "v", body, nil)
		if (err == nil) != (depth < 64) {
			t.Errorf("depth %d: %v, error %v", depth, v, err)
		}
	}
}

// A call of ReadValue or WriteValue takes no more allocations to decode than its values need.
func TestDecodeAllocates(t *testing.T) {
	body, _, err := Marshal("aya{sv}", func(e *Encoder) {
		e.Bytes(make([]byte, 8<<19))
		e.Array("{sv}", func() {
			e.Entry(func() { e.String("type"); e.Variant("s", func() { e.String("command") }) })
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	got := testing.AllocsPerRun(20, func() {
		if _, err := decodeBody(false, "aya{sv}", body, nil); err != nil {
			t.Error(err)
		}
	})
	if got > 14 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkDecodeOptions(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeBody(false, "a{sv}", make([]byte, 8), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeBytes(b *testing.B) {
	body := make([]byte, 8<<20)
	binary.LittleEndian.PutUint32(body, 8<<20-4)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeBody(false, "ay", body, nil); err != nil {
			b.Fatal(err)
		}
	}
}
