// Package scanmode decides when proxies scan actively, and brings them into that mode. Active scanning gets names, but
// wakes sensors and drains their batteries: it is for the time in which somebody discovers.
package scanmode

import (
	"context"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/scanner"
)

// A View is the wish of one adapter, for each proxy that feeds it. It is goroutine-safe.
type View struct {
	mu     lockorder.Mutex[lockorder.ScanMode]
	policy scanner.ModePolicy
}

// Discovering notes whether anybody discovers on the adapter from now on.
func (v *View) Discovering(on bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.policy.Discovering(on, time.Now())
}

func (v *View) wish(mode scanner.ScanMode, now time.Time) (ble.ScannerMode, time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.policy.Wish(mode, now)
}

// Wish is the mode for a proxy that is configured for mode and feeds the views: active if one of them wants that. If
// again is not 0, the wish changes by itself after that time.
func Wish(mode scanner.ScanMode, views ...*View) (wish ble.ScannerMode, again time.Duration) {
	now, lasts := time.Now(), false
	for _, v := range views {
		if v == nil {
			continue
		}
		w, a := v.wish(mode, now)
		if w != ble.ScanActive {
			continue
		}
		wish, lasts, again = w, lasts || a == 0, max(again, a)
	}
	if lasts {
		again = 0
	}
	return wish, again
}

// maxHold is how long a proxy may take to change to active scanning before what it hears counts anyway.
const maxHold = 2 * time.Second

// Hold makes the proxies with these IDs, which are about to change to active scanning, report no new device in the
// table before they did, or before two seconds have passed.
func Hold(table *scanner.Table, proxies []string) {
	if len(proxies) == 0 {
		return
	}
	held := make(map[string]uint32, len(proxies))
	for _, id := range proxies {
		held[id] = table.HoldProxy(id)
	}
	time.AfterFunc(maxHold, func() {
		for id, hold := range held {
			table.ReleaseProxy(id, hold)
		}
	})
}

// batchDelay is how long the firmware may keep adverts before it sends them: what it heard before a change of mode may
// come so much after it (100 ms, on Wi-Fi 200 ms).
const batchDelay = 250 * time.Millisecond

// Changed ends the hold of a proxy that says that it scans actively now, as soon as what it heard before must have
// come.
func Changed(table *scanner.Table, proxy string) {
	if hold := table.Held(proxy); hold != 0 {
		time.AfterFunc(batchDelay, func() { table.ReleaseProxy(proxy, hold) })
	}
}

// pace is the least time between two changes of mode: each restarts the proxy's scanner, and hosts that share it may
// ask for any number of them.
const pace = 250 * time.Millisecond

// A Follower brings one proxy into the wished mode whenever that may have changed. Make it with NewFollower.
type Follower struct {
	changed chan struct{} // capacity 1: the wish may be another
	wish    func() (mode ble.ScannerMode, again time.Duration)
	set     func(ctx context.Context, mode ble.ScannerMode)
}

// NewFollower makes a Follower of wish, which has the meaning of [Wish]. set may be called with the mode that the proxy
// is in already, and does nothing then.
func NewFollower(wish func() (ble.ScannerMode, time.Duration), set func(context.Context, ble.ScannerMode)) *Follower {
	return &Follower{changed: make(chan struct{}, 1), wish: wish, set: set}
}

// Changed has the Follower look at the wish again. It does not block.
func (f *Follower) Changed() {
	select {
	case f.changed <- struct{}{}:
	default: // it is about to
	}
}

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	var later <-chan time.Time
	var last ble.ScannerMode
	var changed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.changed:
		case <-later:
		}
		mode, again := f.wish()
		if left := pace - time.Since(changed); mode != last && left > 0 {
			later = time.After(left)
			continue
		}
		if mode != last {
			last, changed = mode, time.Now()
		}
		later = nil
		if again > 0 {
			later = time.After(again)
		}
		f.set(ctx, mode)
	}
}
