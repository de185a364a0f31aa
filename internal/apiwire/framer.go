package apiwire

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Payload limits in bytes, for Framer.MaxPayload.
const (
	// MaxClientPayload is what ESPHome's client accepts.
	MaxClientPayload = 65535
	// MaxServerPayload is what the firmware accepts on ESP32 since 2025.11; for Noise frames
	// it limits the encrypted body.
	MaxServerPayload = 32768
)

const (
	plainMarker = 0x00
	noiseMarker = 0x01

	noiseHeader = 3  // marker and 16-bit length
	innerHeader = 4  // 16-bit message number and 16-bit payload length
	tagSize     = 16 // of ChaCha20-Poly1305

	maxVarint     = 4 // bytes of each number in a plaintext header
	startBuffer   = 4096
	busyBuffer    = 16384 // from when a read left something behind
	maxNoiseBody  = 65535
	maxNoiseFrame = maxNoiseBody - tagSize - innerHeader
)

// Framer reads and writes the frames of one connection. Read and Append may
// run at the same time, but neither concurrently with itself.
type Framer struct {
	// MaxPayload is the largest payload that Read accepts; larger ones are a *ProtocolError.
	MaxPayload int

	r          io.Reader
	buf        []byte
	start, end int
	full       bool // the last read filled buf

	noise   bool
	strict  bool // server side: the inner length field must fit
	recv    direction
	send    direction
	scratch []byte // of AppendMessage
}

// direction is one direction of an encrypted connection.
type direction struct {
	aead    cipher.AEAD
	nonce   [12]byte // 4 zero bytes and a little-endian counter
	counter uint64
}

func (d *direction) next() []byte {
	binary.LittleEndian.PutUint64(d.nonce[4:], d.counter)
	d.counter++
	return d.nonce[:]
}

// NewPlain returns a Framer of a plaintext connection with the client's limits.
func NewPlain(r io.Reader) *Framer {
	return &Framer{MaxPayload: MaxClientPayload, r: r, buf: make([]byte, startBuffer)}
}

// Encrypted reports whether the connection uses Noise.
func (f *Framer) Encrypted() bool { return f.noise }

// Read returns the next frame. The payload is valid until the next Read that has to read from the connection, see
// Buffered. A number over 65535 is returned as 0, which no message has. At the end of the stream the error is io.EOF,
// within a frame io.ErrUnexpectedEOF; else it is that of the reader, a *ProtocolError, *RequiresEncryptionError,
// *PlaintextDeviceError or *DecryptError. After an error the connection is of no more use.
func (f *Framer) Read() (ID, []byte, error) {
	if f.noise {
		return f.readNoise()
	}
	for {
		h, err := f.plainHeader()
		if err != nil {
			return 0, nil, err
		}
		if h.whole {
			payload := f.buf[f.start+h.header : f.start+h.header+h.payload]
			f.start += h.header + h.payload
			return h.id, payload, nil
		}
		if err := f.fill(h.header + h.payload); err != nil {
			return 0, nil, err
		}
	}
}

// Buffered reports whether the next Read returns without reading from the
// connection, so that a caller can handle a burst before it writes or waits.
func (f *Framer) Buffered() bool {
	if f.noise {
		b := f.buf[f.start:f.end]
		return len(b) > 0 && b[0] != noiseMarker ||
			len(b) >= noiseHeader && len(b) >= noiseHeader+int(binary.BigEndian.Uint16(b[1:]))
	}
	h, err := f.plainHeader()
	return err != nil || h.whole
}

type plainHeader struct {
	id              ID
	header, payload int  // sizes in bytes; 0 as long as they are not known
	whole           bool // the frame is in the buffer
}

func (f *Framer) plainHeader() (h plainHeader, err error) {
	b := f.buf[f.start:f.end]
	if len(b) == 0 {
		return h, nil
	}
	if b[0] == noiseMarker {
		return h, &RequiresEncryptionError{}
	}
	if b[0] != plainMarker {
		return h, &ProtocolError{Detail: fmt.Sprintf("invalid preamble 0x%02x", b[0])}
	}
	size, n, err := headerVarint(b[1:])
	if n == 0 || err != nil {
		return h, err
	}
	if size > f.MaxPayload {
		return h, &ProtocolError{Detail: fmt.Sprintf("payload of %d bytes is over the limit of %d", size, f.MaxPayload)}
	}
	id, m, err := headerVarint(b[1+n:])
	if m == 0 || err != nil {
		return h, err
	}
	if id <= 0xffff {
		h.id = ID(id)
	}
	h.header, h.payload = 1+n+m, size
	h.whole = len(b) >= h.header+h.payload
	return h, nil
}

// headerVarint returns 0 bytes if b ends too early.
func headerVarint(b []byte) (v, n int, err error) {
	for i, c := range b[:min(len(b), maxVarint)] {
		v |= int(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1, nil
		}
	}
	if len(b) >= maxVarint {
		return 0, 0, &ProtocolError{Detail: fmt.Sprintf("varint longer than %d bytes", maxVarint)}
	}
	return 0, 0, nil
}

func (f *Framer) readNoise() (ID, []byte, error) {
	body, err := f.noiseFrame(f.noiseLimit())
	if err != nil {
		return 0, nil, err
	}
	plain, err := f.recv.aead.Open(body[:0], f.recv.next(), body, nil)
	if err != nil {
		return 0, nil, &DecryptError{}
	}
	if len(plain) < innerHeader {
		return 0, nil, &ProtocolError{Detail: fmt.Sprintf("encrypted message of %d bytes has no header", len(plain))}
	}
	id, size := ID(binary.BigEndian.Uint16(plain)), int(binary.BigEndian.Uint16(plain[2:]))
	payload := plain[innerHeader:]
	if f.strict {
		if size > len(payload) {
			return 0, nil, &ProtocolError{Detail: fmt.Sprintf("declared length %d but %d present", size, len(payload))}
		}
		payload = payload[:size]
	}
	return id, payload, nil
}

// noiseLimit is the limit of an encrypted body.
func (f *Framer) noiseLimit() int { return min(f.MaxPayload, maxNoiseBody) }

// noiseFrame returns the body of the next frame, valid until the next one is read.
func (f *Framer) noiseFrame(limit int) ([]byte, error) {
	for {
		b := f.buf[f.start:f.end]
		need := 0
		if len(b) > 0 {
			switch b[0] {
			case noiseMarker:
			case plainMarker:
				return nil, &PlaintextDeviceError{}
			default:
				return nil, &ProtocolError{Detail: fmt.Sprintf("invalid marker byte 0x%02x", b[0])}
			}
		}
		if len(b) >= noiseHeader {
			size := int(binary.BigEndian.Uint16(b[1:]))
			if size > limit {
				return nil, &ProtocolError{Detail: fmt.Sprintf("frame of %d bytes is over the limit of %d", size, limit)}
			}
			need = noiseHeader + size
			if len(b) >= need {
				f.start += need
				return b[noiseHeader:need], nil
			}
		}
		if err := f.fill(need); err != nil {
			return nil, err
		}
	}
}

// fill reads more, with room for a frame of need bytes at start.
func (f *Framer) fill(need int) error {
	if f.start == f.end {
		f.start, f.end = 0, 0
	}
	if busy := f.full && len(f.buf) < busyBuffer; busy || f.end == len(f.buf) || f.start+need > len(f.buf) {
		// Bounded by the payload limits, which are checked first.
		buf := f.buf
		need = max(need, f.end-f.start+1)
		if busy {
			need = max(need, busyBuffer)
		}
		if need > len(buf) {
			buf = make([]byte, max(need, 2*len(buf)))
		}
		f.end = copy(buf, f.buf[f.start:f.end])
		f.start, f.buf = 0, buf
	}
	n, err := f.r.Read(f.buf[f.end:])
	f.end += n
	f.full = f.end == len(f.buf)
	switch {
	case n > 0 || err == nil:
		return nil // an error comes again with the next read
	case err == io.EOF && f.end > f.start:
		return io.ErrUnexpectedEOF
	}
	return err
}

// Append appends one frame to dst, encrypted on a Noise connection; frames
// must be sent in the order in which they were appended.
func (f *Framer) Append(dst []byte, id ID, payload []byte) ([]byte, error) {
	if !f.noise {
		if len(payload) > MaxClientPayload {
			return dst, fmt.Errorf("cannot frame %v: %d bytes are over the limit of %d", id, len(payload), MaxClientPayload)
		}
		dst = append(dst, plainMarker)
		dst = protowire.AppendVarint(dst, uint64(len(payload)))
		dst = protowire.AppendVarint(dst, uint64(id))
		return append(dst, payload...), nil
	}
	if len(payload) > maxNoiseFrame {
		return dst, fmt.Errorf("cannot frame %v: %d bytes are over the limit of %d", id, len(payload), maxNoiseFrame)
	}
	dst = append(dst, noiseMarker)
	dst = binary.BigEndian.AppendUint16(dst, uint16(innerHeader+len(payload)+tagSize))
	body := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, uint16(id))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
	dst = append(dst, payload...)
	return f.send.aead.Seal(dst[:body], f.send.next(), dst[body:], nil), nil
}

// AppendMessage encodes m as the firmware does and appends its frame to dst.
func (f *Framer) AppendMessage(dst []byte, m proto.Message) ([]byte, error) {
	id := IDOf(m)
	if id == 0 {
		return dst, fmt.Errorf("cannot frame %T: it has no message number", m)
	}
	payload, err := appendFirmware(f.scratch[:0], m)
	if err != nil {
		return dst, err
	}
	f.scratch = payload
	return f.Append(dst, id, payload)
}
