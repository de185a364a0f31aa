package adapters

import (
	"log/slog"
	"testing"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/store"
)

// A proxy has the same number over restarts. With all taken, a new one gets that of one that has no adapter in this
// run, or none.
func TestNumbers(t *testing.T) {
	dir := t.TempDir()
	open := func() (*Set, func()) {
		st, err := store.Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s := New(Config{Store: st, Merged: scanner.New(scanner.Config{}), MaxDevices: 10, Logger: slog.New(slog.DiscardHandler)})
		return s, func() {
			s.Close()
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	s, end := open()
	for i := range 8 {
		if own := s.Attach(ble.Address(1 + i)); own == nil || own.Index != i+1 || s.Attach(own.MAC) != own {
			t.Errorf("proxy %d has %+v", i+1, own)
		}
	}
	if own := s.Attach(9); own != nil {
		t.Errorf("the ninth has hci%d", own.Index)
	}
	n := 0
	s.Each(func(*scanner.Table) { n++ })
	if n != 9 {
		t.Errorf("%d tables", n)
	}
	end()

	s, end = open()
	defer end()
	var known []int
	s.Known(func(mac ble.Address, _ store.ProxyInfo) bool { return mac != 3 }, func(own *Own, _ store.ProxyInfo) { known = append(known, own.Index) })
	if len(known) != 0 {
		t.Errorf("known without a name: %v", known)
	}
	for _, mac := range []ble.Address{1, 2, 4, 5, 6, 7, 8} {
		if own := s.Attach(mac); own == nil || own.Index != int(mac) {
			t.Errorf("proxy %d has %+v", mac, own)
		}
	}
	if own := s.Attach(9); own == nil || own.Index != 3 {
		t.Errorf("the ninth has %+v", own)
	}
}
