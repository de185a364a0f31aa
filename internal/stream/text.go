package stream

import (
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"bluez-esphome/internal/ble"
)

const lowerHex = "0123456789abcdef"

// appendString writes s as a JSON string. What is not UTF-8 becomes U+FFFD.
func appendString(out []byte, s string) []byte {
	out = append(out, '"')
	for len(s) > 0 {
		c := s[0]
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
			s = s[1:]
		case c < ' ' || c == 0x7f:
			out = append(out, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
			s = s[1:]
		case c < utf8.RuneSelf:
			out = append(out, c)
			s = s[1:]
		default:
			r, n := utf8.DecodeRuneInString(s)
			out = utf8.AppendRune(out, r)
			s = s[n:]
		}
	}
	return append(out, '"')
}

func appendHex(out, data []byte) []byte {
	out = append(out, '"')
	out = hex.AppendEncode(out, data)
	return append(out, '"')
}

// appendUUID writes the 36-character form in quotes.
func appendUUID(out []byte, u ble.UUID) []byte {
	out = append(out, '"')
	out = u.Append(out)
	return append(out, '"')
}

func appendInt[T int | int8 | int64 | uint8 | uint16](out []byte, n T) []byte {
	return strconv.AppendInt(out, int64(n), 10)
}
