package dbusobj

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/godbus/dbus/v5"
)

// Header field numbers and flags of the D-Bus specification, Message Format.
const (
	fieldPath = iota + 1
	fieldInterface
	fieldMember
	fieldErrorName
	fieldReplySerial
	fieldDestination
	fieldSender
	fieldSignature
	fieldUnixFDs

	flagNoReply = 1

	fixedHeader = 16 // up to and with the length of the field array
)

// message is a received message with its header decoded and its body not yet. Strings
// are what the bus let through; the bus validates.
type message struct {
	typ         dbus.Type
	flags       byte
	bigEndian   bool
	serial      uint32
	replySerial uint32
	nfds        uint32
	path        string
	iface       string
	member      string
	errName     string
	sender      string
	sig         string
	head        int // length of the header, which the strings above keep in memory
	body        []byte
	fds         []int // owned by the message
	// broken says why the body cannot be used: too large, or file descriptors got lost.
	broken error
}

func (m *message) size() int { return m.head + len(m.body) }

func (m *message) close() {
	closeFDs(m.fds)
	m.fds = nil
}

func (m *message) order() binary.ByteOrder {
	if m.bigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

var errHeader = errors.New("malformed message header")

// parseHeader decodes the header in b: the fixed part, and the whole field array without
// the padding behind it.
func parseHeader(b []byte) (*message, error) {
	m := &message{typ: dbus.Type(b[1]), flags: b[2], bigEndian: b[0] == 'B'}
	order := m.order()
	m.serial = order.Uint32(b[8:])
	s := string(b) // one allocation that all strings share
	pos := fixedHeader
	for pos < len(b) {
		pos = (pos + 7) &^ 7
		if pos+4 > len(b) {
			return nil, errHeader
		}
		field := b[pos]
		if b[pos+1] != 1 || b[pos+3] != 0 {
			return nil, errHeader // none of the fields is of a longer type
		}
		typ := b[pos+2]
		pos += 4
		switch typ {
		case 's', 'o':
			if pos+4 > len(b) {
				return nil, errHeader
			}
			length := order.Uint32(b[pos:])
			if uint64(pos)+4+uint64(length)+1 > uint64(len(b)) { // an int may have 32 bits
				return nil, errHeader
			}
			n := int(length)
			m.setString(field, typ, s[pos+4:pos+4+n])
			pos += 4 + n + 1
		case 'u':
			if pos+4 > len(b) {
				return nil, errHeader
			}
			switch v := order.Uint32(b[pos:]); field {
			case fieldReplySerial:
				m.replySerial = v
			case fieldUnixFDs:
				m.nfds = v
			}
			pos += 4
		case 'g':
			if pos >= len(b) || pos+1+int(b[pos])+1 > len(b) {
				return nil, errHeader
			}
			n := int(b[pos])
			if field == fieldSignature {
				m.sig = s[pos+1 : pos+1+n]
			}
			pos += 1 + n + 1
		default:
			return nil, errHeader
		}
	}
	return m, nil
}

func (m *message) setString(field, typ byte, v string) {
	if (field == fieldPath) != (typ == 'o') {
		return
	}
	switch field {
	case fieldPath:
		m.path = v
	case fieldInterface:
		m.iface = v
	case fieldMember:
		m.member = v
	case fieldErrorName:
		m.errName = v
	case fieldSender:
		m.sender = v
	}
}

// decode decodes the body to the types of godbus. Values of type h are the message's file
// descriptors themselves.
func (m *message) decode() ([]any, error) {
	if m.broken != nil {
		return nil, m.broken
	}
	body, err := decodeBody(m.bigEndian, m.sig, m.body, m.fds)
	if err != nil {
		return nil, err
	}
	for _, v := range body {
		if _, ok := v.(dbus.UnixFDIndex); ok {
			return nil, errors.New("cannot decode message: it refers to a file descriptor that is not there")
		}
	}
	return body, nil
}

// decodeBody decodes what calls have by itself, and has godbus decode the rest.
func decodeBody(bigEndian bool, sig string, body []byte, fds []int) ([]any, error) {
	if sig == "" {
		return nil, nil
	}
	if !validSignature(sig) {
		return nil, fmt.Errorf("cannot decode message: bad signature %q", sig)
	}
	values, err := decodeCommon(bigEndian, sig, body, fds)
	if err == errUncommon {
		return decodeAny(bigEndian, sig, body, fds)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot decode message: %w", err)
	}
	return values, nil
}

// decodeAny hands godbus's decoder the body behind a minimal header, since it decodes
// only whole messages. sig is a valid signature.
func decodeAny(bigEndian bool, sig string, body []byte, fds []int) (values []any, err error) {
	// godbus panics with a string, which its own recover passes on, for example for an
	// array of file descriptors.
	defer func() {
		if r := recover(); r != nil {
			values, err = nil, fmt.Errorf("cannot decode message: %v", r)
		}
	}()
	mark, order := byte('l'), binary.AppendByteOrder(binary.LittleEndian)
	if bigEndian {
		mark, order = 'B', binary.BigEndian
	}
	h := make([]byte, 0, 64+len(sig))
	h = append(h, mark, byte(dbus.TypeMethodReply), 0, 1)
	h = order.AppendUint32(h, uint32(len(body)))
	h = order.AppendUint32(h, 1)
	h = order.AppendUint32(h, uint32(8+4+1+len(sig)+1))
	h = append(h, fieldReplySerial, 1, 'u', 0)
	h = order.AppendUint32(h, 1)
	h = append(h, fieldSignature, 1, 'g', 0, byte(len(sig)))
	h = append(h, sig...)
	h = append(h, 0)
	for len(h)%8 != 0 {
		h = append(h, 0)
	}
	msg, err := dbus.DecodeMessageWithFDs(io.MultiReader(bytes.NewReader(h), bytes.NewReader(body)), fds)
	if err != nil {
		return nil, fmt.Errorf("cannot decode message: %w", err)
	}
	return msg.Body, nil
}

// outgoing is the header of a message to be sent.
type outgoing struct {
	typ     dbus.Type
	flags   byte
	serial  uint32
	reply   uint32
	dest    string
	path    string
	iface   string
	member  string
	errName string
	sig     string
}

// appendHeader appends the header, padded; b is empty or holds whole 8-byte units.
func (o *outgoing) appendHeader(b []byte, bodyLen, nfds int) []byte {
	le := binary.LittleEndian
	start := len(b)
	b = append(b, 'l', byte(o.typ), o.flags, 1)
	b = le.AppendUint32(b, uint32(bodyLen))
	b = le.AppendUint32(b, o.serial)
	b = le.AppendUint32(b, 0)
	pad := func() {
		for (len(b)-start)%8 != 0 {
			b = append(b, 0)
		}
	}
	str := func(field, typ byte, v string) {
		if v == "" {
			return
		}
		pad()
		b = append(b, field, 1, typ, 0)
		b = le.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
		b = append(b, 0)
	}
	num := func(field byte, v uint32) {
		if v == 0 {
			return
		}
		pad()
		b = append(b, field, 1, 'u', 0)
		b = le.AppendUint32(b, v)
	}
	str(fieldPath, 'o', o.path)
	str(fieldInterface, 's', o.iface)
	str(fieldMember, 's', o.member)
	str(fieldErrorName, 's', o.errName)
	num(fieldReplySerial, o.reply)
	str(fieldDestination, 's', o.dest)
	if o.sig != "" {
		pad()
		b = append(b, fieldSignature, 1, 'g', 0, byte(len(o.sig)))
		b = append(b, o.sig...)
		b = append(b, 0)
	}
	num(fieldUnixFDs, uint32(nfds))
	le.PutUint32(b[start+12:], uint32(len(b)-start-fixedHeader))
	pad()
	return b
}
