package ble

import (
	"strings"
	"unicode/utf8"
)

// CleanName gives what bluetoothd 5.87 shows of a name that was advertised or read (Device1 Name): it ends before the
// first NUL and the first byte that is not valid UTF-8, which is often half of a character that was cut to fit the
// advertisement, and has no white space around it. Nothing may be left: then there is no name.
func CleanName(raw string) string {
	end := 0
	for end < len(raw) && raw[end] != 0 {
		r, n := utf8.DecodeRuneInString(raw[end:])
		if r == utf8.RuneError && n <= 1 {
			break
		}
		end += n
	}
	return strings.TrimSpace(raw[:end])
}
