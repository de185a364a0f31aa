package dbusobj

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"
)

// maxVariants is how deep variants nest before godbus takes over, which knows D-Bus's own limit.
const maxVariants = 8

// errUncommon says that a body is left to godbus.
var errUncommon = errors.New("uncommon type")

// decodeCommon decodes a body whose types are those that calls of BlueZ's interfaces have: basic ones, variants, ay,
// as, ao and a{sv}. For others the error is errUncommon. The values are of godbus's types and equal to what godbus
// decodes; an ay is part of body. Unlike godbus it rejects all that a bus does not let through.
func decodeCommon(bigEndian bool, sig string, body []byte, fds []int) ([]any, error) {
	d := decoder{b: body, order: binary.LittleEndian, fds: fds}
	if bigEndian {
		d.order = binary.BigEndian
	}
	values := make([]any, 0, 4)
	for sig != "" && d.err == nil {
		n := typeLen(sig)
		values = append(values, d.value(sig[:n]))
		sig = sig[n:]
	}
	if d.err == nil && d.pos != len(d.b) {
		d.fail("%d bytes are left", len(d.b)-d.pos)
	}
	return values, d.err
}

// decoder takes values off a body. After the first error its values mean nothing.
type decoder struct {
	b        []byte
	pos      int
	order    binary.ByteOrder
	fds      []int
	variants int // that are open
	err      error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

// zeros stands for what is not there.
var zeros [8]byte

// take gives the next n bytes, at most 8, behind padding to that size.
func (d *decoder) take(n int) []byte {
	d.align(n)
	if len(d.b)-d.pos < n {
		d.fail("%w", io.ErrUnexpectedEOF)
	}
	if d.err != nil {
		return zeros[:n]
	}
	d.pos += n
	return d.b[d.pos-n : d.pos]
}

func (d *decoder) align(n int) {
	for d.pos%n != 0 {
		if d.pos >= len(d.b) || d.b[d.pos] != 0 {
			d.fail("bad padding")
			return
		}
		d.pos++
	}
}

// text gives a string of n bytes and passes over the NUL behind it.
func (d *decoder) text(n int) string {
	if d.err != nil {
		return ""
	}
	if n < 0 || n >= len(d.b)-d.pos || d.b[d.pos+n] != 0 {
		d.fail("bad length of a string")
		return ""
	}
	s := string(d.b[d.pos : d.pos+n])
	d.pos += n + 1
	return s
}

func (d *decoder) string() string {
	s := d.text(int(d.order.Uint32(d.take(4))))
	if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		d.fail("bad string")
	}
	return s
}

func (d *decoder) path() dbus.ObjectPath {
	s := d.string()
	if d.err == nil && !validPath(s) {
		d.fail("bad object path")
	}
	return dbus.ObjectPath(s)
}

func (d *decoder) signature() dbus.Signature {
	s := d.text(int(d.take(1)[0]))
	sig, err := dbus.ParseSignature(s)
	if d.err == nil && (err != nil || !validSignature(s)) {
		d.fail("bad signature")
	}
	return sig
}

// value takes a value of the one type in sig.
func (d *decoder) value(sig string) any {
	switch sig[0] {
	case 'y':
		return d.take(1)[0]
	case 'b':
		v := d.order.Uint32(d.take(4))
		if v > 1 {
			d.fail("bad boolean")
		}
		return v == 1
	case 'n':
		return int16(d.order.Uint16(d.take(2)))
	case 'q':
		return d.order.Uint16(d.take(2))
	case 'i':
		return int32(d.order.Uint32(d.take(4)))
	case 'u':
		return d.order.Uint32(d.take(4))
	case 'x':
		return int64(d.order.Uint64(d.take(8)))
	case 't':
		return d.order.Uint64(d.take(8))
	case 'd':
		return math.Float64frombits(d.order.Uint64(d.take(8)))
	case 's':
		return d.string()
	case 'o':
		return d.path()
	case 'g':
		return d.signature()
	case 'h':
		if i := d.order.Uint32(d.take(4)); uint64(i) < uint64(len(d.fds)) {
			return dbus.UnixFD(d.fds[i])
		}
	case 'v':
		return d.variant()
	}
	switch sig {
	case "ay":
		return d.bytes()
	case "as":
		return array(d, 4, (*decoder).string)
	case "ao":
		return array(d, 4, (*decoder).path)
	case "a{sv}":
		return d.dict()
	}
	if d.err == nil {
		d.err = errUncommon
	}
	return nil
}

func (d *decoder) variant() dbus.Variant {
	sig := d.signature()
	s := sig.String()
	if d.err == nil && !validSingle(s) {
		d.fail("bad signature of a variant")
	}
	if d.err == nil && d.variants == maxVariants {
		d.err = errUncommon
	}
	if d.err != nil {
		return dbus.Variant{}
	}
	d.variants++
	v := d.value(s)
	d.variants--
	return dbus.MakeVariantWithSignature(v, sig)
}

// begin opens an array of elements of that alignment and gives its end.
func (d *decoder) begin(alignment int) int {
	n := d.order.Uint32(d.take(4))
	d.align(alignment)
	if d.err == nil && uint64(n) > uint64(len(d.b)-d.pos) {
		d.fail("bad length of an array")
	}
	return d.pos + int(n)
}

// more says whether the array that ends at end goes on.
func (d *decoder) more(end int) bool {
	if d.err == nil && d.pos > end {
		d.fail("an array's last element is cut")
	}
	return d.err == nil && d.pos < end
}

func (d *decoder) bytes() []byte {
	end := d.begin(1)
	if d.err != nil {
		return nil
	}
	b := d.b[d.pos:end:end]
	d.pos = end
	return b
}

func array[T any](d *decoder, alignment int, element func(*decoder) T) []T {
	out := []T{}
	for end := d.begin(alignment); d.more(end); {
		out = append(out, element(d))
	}
	return out
}

func (d *decoder) dict() map[string]dbus.Variant {
	out := map[string]dbus.Variant{}
	for end := d.begin(8); d.more(end); {
		d.align(8)
		key := d.string()
		out[key] = d.variant()
	}
	return out
}
