package apiwire

import (
	"strings"
	"testing"
)

func TestMAC(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"240ac4e65720": "24:0A:C4:E6:57:20", "24:0a:c4:e6:57:20": "24:0A:C4:E6:57:20", "": "",
		"240ac4e6572g": "240AC4E6572G", "x\x1b[2J": "X?[2J", "240ac4e65720240ac4e65720": "240AC4E65720240AC…",
	} {
		if got := MAC(in); got != want {
			t.Errorf("MAC(%q) is %q, want %q", in, got, want)
		}
	}
	if got, want := (&InvalidKeyError{Name: "kitchen", MAC: "240ac4e65720"}).Error(), "MAC 24:0A:C4:E6:57:20)"; !strings.Contains(got, want) {
		t.Errorf("%q does not say %q", got, want)
	}
}
