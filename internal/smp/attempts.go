package smp

import (
	"time"

	"bluez-esphome/internal/ble"
)

const (
	// freeAttempts is how often pairing may fail before the host has to wait.
	freeAttempts = 3
	// firstWait is doubled by each further failure up to longestWait (Bluetooth Core, Vol 3 Part H, 2.3.6).
	firstWait   = time.Second
	longestWait = time.Minute
	// maxAttempts bounds the peripherals that are remembered: the one that may be tried again first is forgotten.
	maxAttempts = 256
)

// Attempts remembers how often a host's pairing failed, by peripheral, so that no host has a proxy pair again and
// again. The zero value is ready. Like a Responder it has no lock.
type Attempts struct {
	of map[ble.Address]attempts
}

type attempts struct {
	failed int
	until  time.Time // no earlier
}

func (a *Attempts) tooSoon(peer ble.Address) bool {
	return time.Now().Before(a.of[peer].until)
}

func (a *Attempts) failed(peer ble.Address) {
	if a.of == nil {
		a.of = make(map[ble.Address]attempts)
	}
	t, now := a.of[peer], time.Now()
	if now.Sub(t.until) > longestWait {
		t.failed = 0
	}
	t.failed++
	t.until = now
	if n := t.failed - freeAttempts; n >= 0 {
		t.until = now.Add(min(firstWait<<min(n, 10), longestWait))
	}
	a.of[peer] = t
	if len(a.of) > maxAttempts {
		a.forgetFirst()
	}
}

func (a *Attempts) forgetFirst() {
	var first ble.Address
	for p, t := range a.of {
		if f, ok := a.of[first]; !ok || t.until.Before(f.until) {
			first = p
		}
	}
	delete(a.of, first)
}

func (a *Attempts) succeeded(peer ble.Address) { delete(a.of, peer) }
