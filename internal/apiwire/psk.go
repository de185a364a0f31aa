package apiwire

import "encoding/base64"

// KeySize is the size of a pre-shared key in bytes.
const KeySize = 32

// ParsePSK decodes a pre-shared key as ESPHome's client does: base64 of
// exactly 32 bytes in the standard alphabet with its padding; characters outside the alphabet
// are ignored. The error is a *PSKError and does not hold the key.
func ParsePSK(s string) (key [KeySize]byte, err error) {
	digits := make([]byte, 0, len(s))
	padding, complete := 0, false
	for _, c := range []byte(s) {
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '+', c == '/':
			digits, padding = append(digits, c), 0
		case c == '=' && len(digits)%4 >= 2:
			padding++
			complete = len(digits)%4+padding == 4
		}
		if complete {
			break // nothing counts after the padding
		}
	}
	if len(digits)%4 != 0 && !complete {
		return key, &PSKError{Length: len(s)}
	}
	b, err := base64.RawStdEncoding.DecodeString(string(digits))
	if err != nil || len(b) != KeySize {
		return key, &PSKError{Length: len(s)}
	}
	return [KeySize]byte(b), nil
}
