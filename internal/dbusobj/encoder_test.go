package dbusobj

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// variants compares by what a variant holds.
var variants = cmp.Comparer(func(a, b dbus.Variant) bool { return reflect.DeepEqual(a, b) })

// unmarshal decodes what Marshal encoded, to the types of godbus.
func unmarshal(sig string, body []byte) ([]any, error) { return decodeBody(false, sig, body, nil) }

var signatures = cmp.Comparer(func(a, b dbus.Signature) bool { return a.String() == b.String() })

func TestEncoder(t *testing.T) {
	for _, tt := range []struct {
		name, sig string
		f         func(*Encoder)
		want      []any
	}{
		{"nothing", "", func(*Encoder) {}, nil},
		{"numbers", "ybnqiuxtd", func(e *Encoder) {
			e.Byte(1)
			e.Bool(true)
			e.Int16(-2)
			e.Uint16(3)
			e.Int32(-4)
			e.Uint32(5)
			e.Int64(-6)
			e.Uint64(7)
			e.Double(math.Pi)
		}, []any{byte(1), true, int16(-2), uint16(3), int32(-4), uint32(5), int64(-6), uint64(7), math.Pi}},
		{"strings", "sog", func(e *Encoder) {
			e.String("ä")
			e.ObjectPath("/a/b")
			e.Signature("a{sv}")
		}, []any{"ä", dbus.ObjectPath("/a/b"), dbus.ParseSignatureMust("a{sv}")}},
		{"bad strings", "ss", func(e *Encoder) {
			e.String("a\xffb\xfe\xfd")
			e.String("a\x00b")
		}, []any{"a\uFFFDb\uFFFD", "a"}},
		{"bytes and strings", "yayas", func(e *Encoder) {
			e.Byte(9)
			e.Bytes([]byte{1, 2, 3})
			e.Strings([]string{"x", ""})
		}, []any{byte(9), []byte{1, 2, 3}, []string{"x", ""}}},
		{"empty arrays", "ayata{sv}as", func(e *Encoder) {
			e.Bytes(nil)
			e.Array("t", func() {})
			e.Array("{sv}", func() {})
			e.Strings(nil)
		}, []any{[]byte{}, []uint64{}, map[string]dbus.Variant{}, []string{}}},
		{"dictionary", "ya{qv}", func(e *Encoder) {
			e.Byte(0)
			e.Array("{qv}", func() {
				for i := range uint16(3) {
					e.Entry(func() {
						e.Uint16(i)
						e.Variant("ay", func() { e.Bytes([]byte{byte(i)}) })
					})
				}
			})
		}, []any{byte(0), map[uint16]dbus.Variant{0: dbus.MakeVariant([]byte{0}), 1: dbus.MakeVariant([]byte{1}), 2: dbus.MakeVariant([]byte{2})}}},
		{"structures", "a(y(st))y", func(e *Encoder) {
			e.Array("(y(st))", func() {
				for range 2 {
					e.Struct(func() {
						e.Byte(1)
						e.Struct(func() { e.String("s"); e.Uint64(2) })
					})
				}
			})
			e.Byte(3)
		}, []any{[][]any{{byte(1), []any{"s", uint64(2)}}, {byte(1), []any{"s", uint64(2)}}}, byte(3)}},
		{"nested variants", "v", func(e *Encoder) {
			e.Variant("v", func() { e.Variant("(ss)", func() { e.Struct(func() { e.String("a"); e.String("b") }) }) })
		}, []any{dbus.MakeVariant(dbus.MakeVariantWithSignature([]any{"a", "b"}, dbus.ParseSignatureMust("(ss)")))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body, _, err := Marshal(tt.sig, tt.f)
			if err != nil {
				t.Fatal(err)
			}
			got, err := unmarshal(tt.sig, body)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, variants, signatures); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestEncoderRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, sig string
		f         func(*Encoder)
	}{
		{"other type", "s", func(e *Encoder) { e.Uint32(1) }},
		{"too little", "ss", func(e *Encoder) { e.String("") }},
		{"too much", "s", func(e *Encoder) { e.String(""); e.String("") }},
		{"bad path", "o", func(e *Encoder) { e.ObjectPath("x") }},
		{"empty path", "o", func(e *Encoder) { e.ObjectPath("") }},
		{"path with line feed", "o", func(e *Encoder) { e.ObjectPath("/a\n") }},
		{"bad signature", "g", func(e *Encoder) { e.Signature("a") }},
		{"variant of two", "v", func(e *Encoder) { e.Variant("ss", func() { e.String(""); e.String("") }) }},
		{"empty variant", "v", func(e *Encoder) { e.Variant("s", func() {}) }},
		{"variant overfull", "v", func(e *Encoder) { e.Variant("s", func() { e.String(""); e.String("") }) }},
		{"other element", "as", func(e *Encoder) { e.Array("u", func() { e.Uint32(1) }) }},
		{"element of other type", "as", func(e *Encoder) { e.Array("s", func() { e.Uint32(1) }) }},
		{"no element type", "as", func(e *Encoder) { e.Array("", func() {}) }},
		{"half an entry", "a{ss}", func(e *Encoder) { e.Array("{ss}", func() { e.Entry(func() { e.String("") }) }) }},
		{"structure for entry", "a{ss}", func(e *Encoder) {
			e.Array("{ss}", func() { e.Struct(func() { e.String(""); e.String("") }) })
		}},
		{"entry outside", "s", func(e *Encoder) { e.Entry(func() {}) }},
		{"too large", "ay", func(e *Encoder) { e.Bytes(make([]byte, maxMessage)) }},
		{"panic", "s", func(e *Encoder) { panic("x") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if body, _, err := Marshal(tt.sig, tt.f); err == nil {
				t.Errorf("encoded as % x", body)
			}
		})
	}
}

func TestEncoderOrder(t *testing.T) {
	body, _, err := Marshal("a{sy}", func(e *Encoder) {
		e.Array("{sy}", func() {
			for i, k := range []string{"zz", "aa", "mm"} {
				e.Entry(func() { e.String(k); e.Byte(byte(i)) })
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	s := string(body)
	if z, a, m := strings.Index(s, "zz"), strings.Index(s, "aa"), strings.Index(s, "mm"); z < 0 || z > a || a > m {
		t.Errorf("entries at %d, %d, %d: not in the order of writing", z, a, m)
	}
}

func TestSignatures(t *testing.T) {
	for sig, want := range map[string]bool{
		"": true, "s": true, "a{sv}": true, "a(a{oa{sv}}y)": true, "ssv": true, "aaaay": true,
		"a": false, "(": false, "()": false, "{sv}": false, "a{vs}": false, "a{s}": false, "a{sss}": false,
		"(s": false, "s)": false, "z": false, "a{s(}v)": false, "({ss})": false,
		strings.Repeat("y", 255): true, strings.Repeat("y", 256): false,
		strings.Repeat("a", 32) + "y": true, strings.Repeat("a", 33) + "y": false,
		strings.Repeat("(", 32) + "y" + strings.Repeat(")", 32): true,
		strings.Repeat("(", 33) + "y" + strings.Repeat(")", 33): false,
	} {
		if got := validSignature(sig); got != want {
			t.Errorf("validSignature(%q) = %v", sig, got)
		}
		if single, n := validSingle(sig), typeLen(sig); single != (want && sig != "" && n == len(sig)) {
			t.Errorf("validSingle(%q) = %v", sig, single)
		}
	}
}

// program writes values that fuzz bytes choose with an Encoder and says what they are.
type program struct {
	in   []byte
	e    *Encoder
	want []any
	made int // values so far: arrays of arrays grow fast
}

func (p *program) next() byte {
	if len(p.in) == 0 {
		return 0
	}
	b := p.in[0]
	p.in = p.in[1:]
	return b
}

// pick chooses a type.
func (p *program) pick(depth int) string {
	const basic = "ybnqiuxtdsog"
	c := p.next()
	if depth > 4 {
		c %= byte(len(basic))
	}
	c %= 16
	switch {
	case int(c) < len(basic):
		return basic[c : c+1]
	case c == 12:
		return "v"
	case c == 13:
		return "a" + p.pick(depth+1)
	case c == 14:
		sig := "("
		for range p.next()%3 + 1 {
			sig += p.pick(depth + 1)
		}
		return sig + ")"
	default:
		const keys = "ynqiuxts" // godbus decodes no other
		return "a{" + keys[p.next()%8:][:1] + p.pick(depth+1) + "}"
	}
}

// write writes one value of that type and returns what godbus makes of it.
func (p *program) write(sig string, depth int) any {
	p.made++
	n := uint64(p.next())
	n |= n << 37
	switch sig[0] {
	case 'y':
		p.e.Byte(byte(n))
		return byte(n)
	case 'b':
		p.e.Bool(n&1 != 0)
		return n&1 != 0
	case 'n':
		p.e.Int16(int16(n))
		return int16(n)
	case 'q':
		p.e.Uint16(uint16(n))
		return uint16(n)
	case 'i':
		p.e.Int32(-int32(n))
		return -int32(n)
	case 'u':
		p.e.Uint32(uint32(n))
		return uint32(n)
	case 'x':
		p.e.Int64(-int64(n))
		return -int64(n)
	case 't':
		p.e.Uint64(n)
		return n
	case 'd':
		p.e.Double(float64(n))
		return float64(n)
	case 's':
		s := string(p.in[:min(len(p.in), int(n%9))])
		p.e.String(s)
		return cleanString(s)
	case 'o':
		o := dbus.ObjectPath("/" + strings.Repeat("x", int(n%9)))
		p.e.ObjectPath(o)
		return o
	case 'g':
		g := strings.Repeat("y", int(n%9))
		p.e.Signature(g)
		return dbus.ParseSignatureMust(g)
	case 'v':
		inner := "y"
		if depth < 8 {
			inner = p.pick(depth)
		}
		if !validSingle(inner) { // too long
			inner = "y"
		}
		var v any
		p.e.Variant(inner, func() { v = p.write(inner, depth+1) })
		return dbus.MakeVariantWithSignature(v, dbus.ParseSignatureMust(inner))
	case '(':
		var v []any
		p.e.Struct(func() { v = p.writeAll(sig[1:len(sig)-1], depth+1) })
		return v
	default:
		return p.writeArray(sig[1:], int(n%4), depth)
	}
}

func (p *program) writeArray(elem string, n, depth int) any {
	if p.made > 1000 {
		n = 0
	}
	list := reflect.MakeSlice(reflect.SliceOf(goType(elem)), 0, n)
	if elem[0] == '{' {
		list = reflect.MakeMap(goType("a" + elem))
	}
	p.e.Array(elem, func() {
		for range n {
			if elem[0] != '{' {
				list = reflect.Append(list, reflect.ValueOf(p.write(elem, depth+1)))
				continue
			}
			p.e.Entry(func() {
				kv := p.writeAll(elem[1:len(elem)-1], depth+1)
				list.SetMapIndex(reflect.ValueOf(kv[0]), reflect.ValueOf(kv[1]))
			})
		}
	})
	return list.Interface()
}

func (p *program) writeAll(sig string, depth int) (values []any) {
	for sig != "" {
		n := typeLen(sig)
		values = append(values, p.write(sig[:n], depth))
		sig = sig[n:]
	}
	return values
}

// goType is the type to which godbus decodes a D-Bus type.
func goType(sig string) reflect.Type {
	switch {
	case strings.HasPrefix(sig, "a{"):
		return reflect.MapOf(goType(sig[2:3]), goType(sig[3:len(sig)-1]))
	case sig[0] == 'a':
		return reflect.SliceOf(goType(sig[1:]))
	case sig[0] == '(' || sig[0] == '{':
		return reflect.TypeFor[[]any]()
	}
	return reflect.TypeOf(map[byte]any{
		'y': byte(0), 'b': false, 'n': int16(0), 'q': uint16(0), 'i': int32(0), 'u': uint32(0), 'x': int64(0),
		't': uint64(0), 'd': 0.0, 's': "", 'o': dbus.ObjectPath(""), 'g': dbus.Signature{}, 'v': dbus.Variant{},
	}[sig[0]])
}

// FuzzEncoder: whatever is written in accord with a signature, godbus decodes to the
// values that were written, and the same again makes the same bytes.
func FuzzEncoder(f *testing.F) {
	f.Add([]byte{13, 15, 9, 12, 14, 2, 3, 4, 5})
	f.Add([]byte{15, 1, 12, 3, 9, 200, 13, 14, 1, 7})
	f.Fuzz(func(t *testing.T, in []byte) {
		p := &program{in: in}
		sig := ""
		for range p.next()%4 + 1 {
			sig += p.pick(0)
		}
		if !validSignature(sig) {
			return
		}
		rest := p.in
		body, _, err := Marshal(sig, func(e *Encoder) {
			p.e = e
			p.want = p.writeAll(sig, 0)
		})
		if err != nil {
			t.Fatalf("%s: %v", sig, err)
		}
		values, err := unmarshal(sig, body)
		if err != nil {
			t.Fatalf("%s: godbus: %v", sig, err)
		}
		if !reflect.DeepEqual(p.want, values) {
			t.Fatalf("%s: got %v, want %v", sig, values, p.want)
		}
		again, _, err := Marshal(sig, func(e *Encoder) {
			p.in, p.e, p.made = rest, e, 0
			p.writeAll(sig, 0)
		})
		if err != nil || string(again) != string(body) {
			t.Fatalf("%s: not the same again: %v", sig, err)
		}
	})
}

// FuzzHeader: no header makes the parser panic.
func FuzzHeader(f *testing.F) {
	o := outgoing{typ: dbus.TypeMethodCall, serial: 7, dest: "a.b", path: "/x", iface: "c.d", member: "E", sig: "s"}
	f.Add(o.appendHeader(nil, 4, 1))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) >= fixedHeader {
			_, _ = parseHeader(in)
		}
	})
}

func TestHeader(t *testing.T) {
	o := outgoing{
		typ: dbus.TypeMethodCall, flags: flagNoReply, serial: 7, reply: 8, dest: "a.b", path: "/x",
		iface: "c.d", member: "E", errName: "f.g", sig: "s",
	}
	b := o.appendHeader(nil, 4, 3)
	if len(b)%8 != 0 {
		t.Errorf("header of %d bytes is not padded", len(b))
	}
	fields := int(b[12])
	got, err := parseHeader(b[:fixedHeader+fields])
	if err != nil {
		t.Fatal(err)
	}
	want := &message{
		typ: dbus.TypeMethodCall, flags: flagNoReply, serial: 7, replySerial: 8, nfds: 3, path: "/x",
		iface: "c.d", member: "E", errName: "f.g", sig: "s",
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(message{})); d != "" {
		t.Error(d)
	}
	for n := fixedHeader; n < fixedHeader+fields; n++ {
		_, _ = parseHeader(b[:n]) // must not panic
	}
}
