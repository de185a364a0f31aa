package apiconn

import (
	"strings"
	"testing"
	"testing/synctest"
)

// Where the newest subscriber wins and the proxy tells of nobody, a host before us may have lost it: that is said for a
// day.
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
			b.onlineAs(old(tt.version, 0xff))
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

// A device that has encryption but no key yet stops to answer with ESPHome 2027.2: that is said as long as it has none.
func TestNoteOfKeylessDevice(t *testing.T) {
	for _, c := range []struct {
		provisionable bool
		key           *[32]byte
		want          bool
	}{{true, nil, true}, {false, nil, false}, {true, &[32]byte{7}, false}} {
		info := device("2026.10.0", 0xff)
		info.ApiEncryptionSupported, info.ApiEncryptionProvisionable = true, c.provisionable
		f := &firmware{info: info, grants: true, psk: c.key}
		inHome(t, f, func(cfg *Config) { cfg.PSK = c.key }, func(h *home) {
			h.expect(StateOnline, 1)
			if got := strings.Contains(h.p.Note(), "2027.2"); got != c.want {
				t.Errorf("%+v: note %q", c, h.p.Note())
			}
		})
	}
}
