package ble_test

import (
	"testing"
	"unicode/utf8"

	"bluez-esphome/internal/ble"
)

func TestCleanName(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{"Lamp", "Lamp"},
		{"", ""},
		{"Kuche l\xc3", "Kuche l"}, // the first byte of two
		{"Temp \xe2\x82", "Temp"},  // two of three; then white space
		{"\xf0\x9f\x92", ""},       // three of four, and nothing before
		{"\xff\xff\xff\xff", ""},   // as some devices fill what they did not set
		{"\xffLamp", ""},           // cut at the first, not mended
		{"K\xfcche", "K"},          // Latin-1
		{"a\xed\xa0\x80b", "a"},    // a surrogate, which D-Bus refuses
		{"a\xc0\x80b", "a"},        // NUL in more bytes than it needs
		{"La\x00mp", "La"},         // what follows a NUL is padding
		{"\x00", ""},
		{" \t Lamp \n\x00\x00", "Lamp"},
		{"   ", ""},
		{"\ufffd", "\ufffd"}, // a character like others if it is sent
		{"Küche 💡", "Küche 💡"},
	} {
		if got := ble.CleanName(c.raw); got != c.want {
			t.Errorf("CleanName(%q) = %q, want %q", c.raw, got, c.want)
		}
	}
}

func FuzzCleanName(f *testing.F) {
	f.Add("Kuche l\xc3")
	f.Fuzz(func(t *testing.T, raw string) {
		got := ble.CleanName(raw)
		if !utf8.ValidString(got) || ble.CleanName(got) != got {
			t.Errorf("CleanName(%q) = %q", raw, got)
		}
	})
}
