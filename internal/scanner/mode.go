package scanner

import (
	"time"

	"bluez-esphome/internal/ble"
)

// ScanMode is how a proxy is configured to scan.
type ScanMode uint8

// Scan modes. Auto is active while somebody discovers and for a short time afterwards, else
// passive: active scanning wakes sensors and drains their batteries.
const (
	ScanAuto ScanMode = iota
	ScanAlwaysActive
	ScanAlwaysPassive
)

// ScanTail is how long proxies stay active after the last discovery: clients
// stop and start in a row, and each change of mode restarts the proxy's scanner.
const ScanTail = 5 * time.Second

// ModePolicy says in which mode proxies should scan. It has no clock of its own, and
// its zero value is ready. It is not goroutine-safe.
type ModePolicy struct {
	discovering bool
	ended       time.Time // zero: nobody ever discovered
}

// Discovering notes whether anybody discovers, as of now. Advertisement monitors don't
// count: passive scanning serves them.
func (p *ModePolicy) Discovering(discovering bool, now time.Time) {
	if p.discovering && !discovering {
		p.ended = now
	}
	p.discovering = discovering
}

// Wish gives the mode for a proxy. If again is not 0, the wish changes by itself after
// that time: ask again then.
func (p *ModePolicy) Wish(mode ScanMode, now time.Time) (wish ble.ScannerMode, again time.Duration) {
	switch {
	case mode == ScanAlwaysActive:
		return ble.ScanActive, 0
	case mode == ScanAlwaysPassive:
		return ble.ScanPassive, 0
	case p.discovering:
		return ble.ScanActive, 0
	case p.ended.IsZero():
		return ble.ScanPassive, 0
	}
	if left := ScanTail - now.Sub(p.ended); left > 0 {
		return ble.ScanActive, left
	}
	return ble.ScanPassive, 0
}
