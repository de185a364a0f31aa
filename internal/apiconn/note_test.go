package apiconn

import (
	"testing"
	"testing/synctest"

	"bluez-esphome/internal/apiwire/apipb"
)

// Where the newest subscriber wins and the proxy tells of nobody, a host before us may have lost it: that is said for a day.
func TestNote(t *testing.T) {
	for _, tt := range []struct {
		version string
		want    string
	}{{"2026.7.4", notePrevious}, {"2026.6.1", ""}} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, nil)
			if b.p.Note() != "" {
				t.Error("a note before the first session")
			}
			started := only(func() error { return b.p.Start(t.Context()) })
			far := b.accept()
			info := deviceInfo()
			info.EsphomeVersion = tt.version
			far.hello(info)
			far.read()
			far.send(freeSlots())
			far.read()
			far.send(&apipb.BluetoothScannerStateResponse{State: 2})
			if err := started(); err != nil {
				t.Fatal(err)
			}
			if got := b.p.Note(); got != tt.want {
				t.Errorf("%s: %q", tt.version, got)
			}
			b.p.setState(StateDisplaced, errStolen)
			if got := b.p.Note(); got != "" {
				t.Errorf("%s: the other host has it back: %q", tt.version, got)
			}
			b.p.setState(StateOnline, nil)
			b.p.mu.Lock()
			if !b.p.taken.IsZero() {
				b.p.taken = b.p.taken.Add(-noteFor)
			}
			b.p.mu.Unlock()
			if got := b.p.Note(); got != "" {
				t.Errorf("%s: after a day: %q", tt.version, got)
			}
		})
	}
}
