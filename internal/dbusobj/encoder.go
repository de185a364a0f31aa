package dbusobj

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"
)

// maxArray is the largest array in bytes, maxMessage the largest message that we send. D-Bus allows messages of 128
// MiB, but the system bus by default disconnects a client that sends more than 32 MiB.
const (
	maxArray   = 64 << 20
	maxMessage = 32 << 20
)

// Encoder appends values in the D-Bus wire format (little-endian). Dictionaries keep the order in which their entries
// are written. It checks each value against the signature it was made for; after the first misfit nothing that was
// written is used, and the error is logged, because a bus disconnects a client that sends a malformed message.
//
// An Encoder is only valid during the call that it was passed to.
type Encoder struct {
	buf []byte
	fds []int
	// want is what is still expected in the innermost open container, elem what it is
	// refilled with when that container is an array.
	want, elem string
	err        error
}

func (e *Encoder) reset(sig string) {
	e.buf, e.fds, e.want, e.elem, e.err = e.buf[:0], nil, sig, "", nil
}

// finish says whether all that was expected was written.
func (e *Encoder) finish() error {
	if e.err == nil && e.want != "" {
		e.err = fmt.Errorf("cannot encode message: values of type %q are missing", e.want)
	}
	if e.err == nil && len(e.buf) > maxMessage-64<<10 {
		e.err = fmt.Errorf("cannot encode message: %d bytes are too many", len(e.buf))
	}
	return e.err
}

func (e *Encoder) fail(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf("cannot encode value: "+format, args...)
	}
}

// take consumes the next expected type, which must be t.
func (e *Encoder) take(t string) bool {
	if e.want == "" && e.elem != "" {
		e.want = e.elem
	}
	if !strings.HasPrefix(e.want, t) {
		e.fail("%q written where %q is expected", t, e.want)
		return false
	}
	e.want = e.want[len(t):]
	return e.err == nil
}

func (e *Encoder) align(n int) {
	for len(e.buf)%n != 0 {
		e.buf = append(e.buf, 0)
	}
}

func (e *Encoder) put16(v uint16) {
	e.align(2)
	e.buf = binary.LittleEndian.AppendUint16(e.buf, v)
}

func (e *Encoder) put32(v uint32) {
	e.align(4)
	e.buf = binary.LittleEndian.AppendUint32(e.buf, v)
}

func (e *Encoder) put64(v uint64) {
	e.align(8)
	e.buf = binary.LittleEndian.AppendUint64(e.buf, v)
}

func (e *Encoder) putString(s string) {
	e.put32(uint32(len(s)))
	e.buf = append(e.buf, s...)
	e.buf = append(e.buf, 0)
}

func (e *Encoder) putSignature(s string) {
	e.buf = append(e.buf, byte(len(s)))
	e.buf = append(e.buf, s...)
	e.buf = append(e.buf, 0)
}

// Byte appends a y.
func (e *Encoder) Byte(v byte) {
	if e.take("y") {
		e.buf = append(e.buf, v)
	}
}

// Bool appends a b.
func (e *Encoder) Bool(v bool) {
	if !e.take("b") {
		return
	}
	if v {
		e.put32(1)
	} else {
		e.put32(0)
	}
}

// Int16 appends an n.
func (e *Encoder) Int16(v int16) {
	if e.take("n") {
		e.put16(uint16(v))
	}
}

// Uint16 appends a q.
func (e *Encoder) Uint16(v uint16) {
	if e.take("q") {
		e.put16(v)
	}
}

// Int32 appends an i.
func (e *Encoder) Int32(v int32) {
	if e.take("i") {
		e.put32(uint32(v))
	}
}

// Uint32 appends a u.
func (e *Encoder) Uint32(v uint32) {
	if e.take("u") {
		e.put32(v)
	}
}

// Int64 appends an x.
func (e *Encoder) Int64(v int64) {
	if e.take("x") {
		e.put64(uint64(v))
	}
}

// Uint64 appends a t.
func (e *Encoder) Uint64(v uint64) {
	if e.take("t") {
		e.put64(v)
	}
}

// Double appends a d.
func (e *Encoder) Double(v float64) {
	if e.take("d") {
		e.put64(math.Float64bits(v))
	}
}

// String appends an s. What a D-Bus string cannot hold is replaced: invalid UTF-8 by
// U+FFFD; at a NUL the string ends, as it does for C programs.
func (e *Encoder) String(s string) {
	if e.take("s") {
		e.putString(cleanString(s))
	}
}

func cleanString(s string) string {
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}

// ObjectPath appends an o.
func (e *Encoder) ObjectPath(p dbus.ObjectPath) {
	if !e.take("o") {
		return
	}
	if !validPath(string(p)) {
		e.fail("%q is not an object path", p)
		return
	}
	e.putString(string(p))
}

// Signature appends a g.
func (e *Encoder) Signature(sig string) {
	if !e.take("g") {
		return
	}
	if !validSignature(sig) {
		e.fail("%q is not a signature", sig)
		return
	}
	e.putSignature(sig)
}

// Bytes appends an ay.
func (e *Encoder) Bytes(b []byte) {
	if e.take("ay") {
		e.put32(uint32(len(b)))
		e.buf = append(e.buf, b...)
	}
}

// Strings appends an as.
func (e *Encoder) Strings(ss []string) {
	e.Array("s", func() {
		for _, s := range ss {
			e.String(s)
		}
	})
}

// FD appends an h. The file descriptor belongs to the Encoder from now on and is closed
// when it was sent or when the message comes to nothing.
func (e *Encoder) FD(fd int) {
	e.fds = append(e.fds, fd)
	if e.take("h") {
		e.put32(uint32(len(e.fds) - 1))
	}
}

// Variant appends a v; f appends its one value of type sig.
func (e *Encoder) Variant(sig string, f func()) {
	if !e.take("v") {
		return
	}
	if !validSingle(sig) {
		e.fail("%q is not one type", sig)
		return
	}
	e.putSignature(sig)
	e.inside(sig, "", f)
}

// Array appends an array; f appends its elements, each of type elemSig.
func (e *Encoder) Array(elemSig string, f func()) {
	if !e.take("a") || !e.take(elemSig) {
		return
	}
	if elemSig == "" {
		e.fail("array without element type")
		return
	}
	e.put32(0)
	size := len(e.buf) - 4
	e.align(alignmentOf(elemSig[0]))
	start := len(e.buf)
	e.inside("", elemSig, f)
	e.arrayLength(size, start)
}

// arrayLength fills in the length of the array whose elements begin at start.
func (e *Encoder) arrayLength(size, start int) {
	n := len(e.buf) - start
	if n > maxArray {
		e.fail("array of %d bytes is too large", n)
		return
	}
	binary.LittleEndian.PutUint32(e.buf[size:], uint32(n))
}

// Entry appends an entry of a dictionary inside [Encoder.Array]; f appends key and value.
func (e *Encoder) Entry(f func()) { e.group('{', f) }

// Struct appends a structure; f appends its fields.
func (e *Encoder) Struct(f func()) { e.group('(', f) }

func (e *Encoder) group(open byte, f func()) {
	if e.want == "" && e.elem != "" {
		e.want = e.elem
	}
	n := typeLenAt(e.want, 0, 0, true)
	if n == 0 || e.want[0] != open {
		e.fail("%q written where %q is expected", open, e.want)
		return
	}
	inner := e.want[1 : n-1]
	e.want = e.want[n:]
	if e.err == nil {
		e.align(8)
		e.inside(inner, "", f)
	}
}

// inside runs f with another expectation, which it must fulfil.
func (e *Encoder) inside(want, elem string, f func()) {
	w, el := e.want, e.elem
	e.want, e.elem = want, elem
	f()
	if e.want != "" {
		e.fail("values of type %q are missing", e.want)
	}
	e.want, e.elem = w, el
}

// attempt runs f; if it panics or fails, everything it wrote is taken back and the
// reason is returned.
func (e *Encoder) attempt(f func()) (err error) {
	n, nfds, want, elem, prior := len(e.buf), len(e.fds), e.want, e.elem, e.err
	defer func() {
		if r := recover(); r != nil {
			err = panicError(r)
		} else {
			err = e.err
		}
		if err == nil || prior != nil {
			return
		}
		closeFDs(e.fds[nfds:])
		e.buf, e.fds, e.want, e.elem, e.err = e.buf[:n], e.fds[:nfds], want, elem, nil
	}()
	f()
	return nil
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		_ = syscall.Close(fd)
	}
}

// Marshal encodes values of the types in sig; f appends them. The caller owns the file
// descriptors. It is what the tree does with the functions it is given, for tests of them.
func Marshal(sig string, f func(*Encoder)) (body []byte, fds []int, err error) {
	var e Encoder
	e.reset(sig)
	err = e.attempt(func() { f(&e) })
	if err == nil {
		err = e.finish()
	}
	if err != nil {
		closeFDs(e.fds)
		return nil, nil, err
	}
	return e.buf, e.fds, nil
}
