package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName bounds a proxy's name, in bytes; ESPHome's own have at most 31.
const maxName = 63

// CheckName refuses names that are hard to read or to tell apart from something else: empty and long ones, control
// characters, a space at either end, "/" and "{".
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case len(name) > maxName:
		return fmt.Errorf("has %d bytes, more than %d", len(name), maxName)
	case !utf8.ValidString(name):
		return errors.New("is not UTF-8")
	case strings.TrimSpace(name) != name:
		return errors.New("begins or ends with a space")
	case strings.ContainsAny(name, "/{},="):
		return errors.New(`has one of / { } , =`)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("has a character that does not print")
	}
	return nil
}

// PathElement gives a name as one element of a D-Bus object path: letters and digits stay, every
// other byte, and a digit at the beginning, becomes "_" and two hexadecimal digits. Different names give
// different elements; the empty name gives "_". It is the escaping that systemd uses.
func PathElement(name string) string {
	if name == "" {
		return "_"
	}
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if alphanumeric(c) && (i > 0 || c > '9') {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}
