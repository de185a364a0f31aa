package hci

import "bytes"

// H4 packet types (Bluetooth Core, Vol 4 Part A, 2).
const (
	typeCommand = 0x01
	typeACL     = 0x02
	typeEvent   = 0x04
)

// maxFrame is the longest packet that a host may send: a type, an ACL header, aclLength bytes. Commands are shorter
// than 260.
const maxFrame = 1 + 4 + 255

// resetFrame is HCI_Reset, by which a host whose stream lost its frames finds them again (Vol 4 Part A, 4).
var resetFrame = []byte{typeCommand, 0x03, 0x0c, 0x00}

// splitter cuts a byte stream into H4 packets. What is no packet, such as the noise of a wrong baud rate, costs the
// frames: from then on everything is skipped up to a Reset.
type splitter struct {
	buf  []byte // less than one packet, while frames are in order
	lost bool
}

// feed takes bytes and calls packet for each whole packet, which is valid only during the call. It reports whether
// frames were lost within them: a controller tells its host by a Hardware Error.
func (s *splitter) feed(data []byte, packet func([]byte)) (lost bool) {
	s.buf = append(s.buf, data...)
	rest := s.buf
	for len(rest) > 0 {
		if s.lost {
			i := bytes.Index(rest, resetFrame)
			if i < 0 { // keep what may begin one
				rest = rest[max(0, len(rest)-len(resetFrame)+1):]
				break
			}
			s.lost, rest = false, rest[i:]
		}
		n := frameLength(rest)
		if n < 0 {
			s.lost, lost = true, true
			rest = rest[1:]
			continue
		}
		if n == 0 || n > len(rest) {
			break
		}
		packet(rest[:n])
		rest = rest[n:]
	}
	s.buf = append(s.buf[:0], rest...)
	return lost
}

// frameLength is the length of the packet that b begins with, 0 if that is not known yet, -1 if it begins with none
// that a host of this controller may send.
func frameLength(b []byte) int {
	switch b[0] {
	case typeCommand:
		if len(b) < 4 {
			return 0
		}
		return 4 + int(b[3])
	case typeACL:
		if len(b) < 5 {
			return 0
		}
		if n := int(b[3]) | int(b[4])<<8; n <= aclLength {
			return 5 + n
		}
	}
	return -1
}
