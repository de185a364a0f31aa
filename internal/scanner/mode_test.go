package scanner

import (
	"testing"
	"time"

	"bluez-esphome/internal/ble"
)

func TestModePolicy(t *testing.T) {
	start := time.Now()
	var p ModePolicy
	for _, c := range []struct {
		name     string
		at       time.Duration
		set      bool
		discover bool
		want     ble.ScannerMode
		again    time.Duration
	}{
		{"nobody yet", 0, false, false, ble.ScanPassive, 0},
		{"still nobody", time.Second, true, false, ble.ScanPassive, 0},
		{"somebody", 2 * time.Second, true, true, ble.ScanActive, 0},
		{"for hours", time.Hour, true, true, ble.ScanActive, 0},
		{"stopped", time.Hour, true, false, ble.ScanActive, 5 * time.Second},
		{"in the tail", time.Hour + 2*time.Second, true, false, ble.ScanActive, 3 * time.Second},
		{"again in the tail", time.Hour + 3*time.Second, true, true, ble.ScanActive, 0},
		{"stopped again", time.Hour + 10*time.Second, true, false, ble.ScanActive, 5 * time.Second},
		{"after the tail", time.Hour + 15*time.Second, false, false, ble.ScanPassive, 0},
	} {
		now := start.Add(c.at)
		if c.set {
			p.Discovering(c.discover, now)
		}
		if wish, again := p.Wish(ScanAuto, now); wish != c.want || again != c.again {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, wish, again, c.want, c.again)
		}
		if wish, again := p.Wish(ScanAlwaysActive, now); wish != ble.ScanActive || again != 0 {
			t.Errorf("%s: configured active: %v, %v", c.name, wish, again)
		}
		if wish, again := p.Wish(ScanAlwaysPassive, now); wish != ble.ScanPassive || again != 0 {
			t.Errorf("%s: configured passive: %v, %v", c.name, wish, again)
		}
	}
}
