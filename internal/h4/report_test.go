package h4_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"bluez-esphome/internal/h4"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSplit: where an advertisement ends.
func TestSplit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		data     string
		adv, rsp int
	}{
		{"one part", strings.Repeat("020106", 10), 30, 0},
		{"31 bytes", strings.Repeat("020106", 9) + "03020118", 31, 0},
		{"boundary", strings.Repeat("020106", 10) + "0302011805ff01020304", 30, 10},
		{"padding", "020106" + strings.Repeat("00", 28) + "03020118", 31, 4},
		{"broken", "ff" + strings.Repeat("01", 40), 31, 10},
		{"62 bytes", strings.Repeat("020106", 9) + "03020118" + strings.Repeat("020106", 9) + "03020118", 31, 31},
		{"too long a rest", "03020118" + "30" + strings.Repeat("01", 57), 31, 31},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := unhex(t, c.data)
			adv, rsp := h4.Split(b)
			if len(adv) != c.adv || len(rsp) != c.rsp {
				t.Errorf("%d + %d bytes, want %d + %d", len(adv), len(rsp), c.adv, c.rsp)
			}
		})
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(unhex(f, "02010605030f18"))
	f.Fuzz(func(t *testing.T, data []byte) {
		adv, rsp := h4.Split(data)
		if len(adv) > h4.MaxLegacy || len(rsp) > h4.MaxLegacy || !bytes.HasPrefix(data, append(bytes.Clone(adv), rsp...)) {
			t.Fatalf("% x and % x of % x", adv, rsp, data)
		}
	})
}
