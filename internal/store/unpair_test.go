package store

import (
	"slices"
	"testing"

	"bluez-esphome/internal/ble"
)

// What a proxy is yet to drop is kept over restarts until it is taken away.
func TestUnpairs(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	s.SetUnpair("kitchen", 1, true)
	s.SetUnpair("kitchen", 2, true)
	s.SetUnpair("kitchen", 2, true)
	s.SetUnpair("kitchen", 3, false)
	s.SetUnpair("hall", 1, true)
	for _, want := range [][]ble.Address{{1, 2}, {2}, nil} {
		closeStore(t, s)
		s, _ = open(t, dir)
		if got := s.Unpairs("kitchen"); !slices.Equal(got, want) {
			t.Errorf("kept for kitchen: %v, want %v", got, want)
		}
		if got := s.Unpairs("hall"); !slices.Equal(got, []ble.Address{1}) {
			t.Errorf("kept for hall: %v", got)
		}
		if len(want) > 0 {
			s.SetUnpair("kitchen", want[0], false)
		}
	}
}

// A client that unpairs without end fills no disk, and what was written is read again.
func TestUnpairsBounded(t *testing.T) {
	dir := t.TempDir()
	s, l := open(t, dir)
	for i := range maxUnpairs + 10 {
		s.SetUnpair("kitchen", ble.Address(1+i), true)
	}
	closeStore(t, s)
	if l.count("too many others wait") == 0 {
		t.Error("nothing is said of those that are not kept")
	}
	s, l = open(t, dir)
	if got := len(s.Unpairs("kitchen")); got != maxUnpairs || l.String() != "" {
		t.Errorf("%d are kept, want %d; logged: %s", got, maxUnpairs, l)
	}
}
