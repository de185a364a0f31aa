package ble

import (
	"errors"
	"testing"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Version{
		"2026.10.0": {2026, 10, 0}, "2026.8.3": {2026, 8, 3}, "2026.9": {2026, 9, 0}, "2026.8.0-dev": {2026, 8, 0}, "2026.8.0b2": {2026, 8, 0},
		"2026.08-dev": {2026, 8, 0},
	} {
		if got, ok := ParseVersion(in); got != want || !ok {
			t.Errorf("%q: %v, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "dev", "2026", "2026.", "2026.13.0", "2026.0", ".8", "-1.8", "x2026.8"} {
		if got, ok := ParseVersion(in); got != (Version{}) || ok {
			t.Errorf("%q was read as %v", in, got)
		}
	}
	old, _ := ParseVersion("2026.9.4")
	now, _ := ParseVersion("2026.10.0")
	if old.Compare(now) >= 0 || !now.AtLeast(2026, 9) || !now.AtLeast(2026, 10) || now.AtLeast(2026, 11) || now.AtLeast(2027, 1) {
		t.Error("wrong order")
	}
}

func TestConnectionParams(t *testing.T) {
	t.Parallel()
	for _, good := range []ConnectionParams{{6, 12, 0, 400}, {6, 6, 0, 10}, {3200, 3200, 0, 801}, {6, 6, 499, 751}} {
		if err := good.Check(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []ConnectionParams{{}, {5, 12, 0, 400}, {12, 6, 0, 400}, {6, 3201, 0, 3200}, {6, 12, 500, 3200}, {6, 12, 0, 9}, {6, 12, 0, 3201},
		{3200, 3200, 0, 800}, {6, 6, 499, 750}} {
		if err := bad.Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
