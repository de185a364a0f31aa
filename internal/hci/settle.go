package hci

import (
	"sync/atomic"
	"time"
)

const (
	// maxSettle is how long proxies may take to change to active scanning before what they hear counts anyway.
	maxSettle = 2 * time.Second
	// batchDelay is how long the firmware may keep advertisements before it sends them: what it heard before a change of mode may come
	// so much after it (100 ms, on Wi-Fi 200 ms).
	batchDelay = 250 * time.Millisecond
	// pauseActive is how long proxies scan actively at least after nobody wants it any more: a host that restarts its scan meets no
	// change of mode.
	pauseActive = 5 * time.Second
)

// settling is the beginning of an active scan, while proxies scan passively still. What they hear until then lacks the scan response, with
// the name, and hosts make up their devices from the first report: until the proxies have changed, a device without a scan response is not
// reported for the first time. A radio of its own would have asked for the response.
type settling struct {
	passive   func() bool // Air.Passive; not called with scan.mu held
	unsettled atomic.Bool // is changed with scan.mu held
	settled   time.Duration
	turned    bool          // the proxies have changed
	active    time.Duration // when the last active scan ended
}

// beginLocked is called where a scan is begun or ended. passive is what Air.Passive said.
func (s *scan) beginLocked(active, passive bool) {
	now := time.Since(s.epoch)
	if s.on && s.cfg.active {
		s.settling.active = now
	}
	s.turned, s.settled = false, now+maxSettle
	s.unsettled.Store(active && passive && now-s.settling.active > pauseActive)
}

// settle finds out whether the proxies have changed at that time.
func (s *scan) settle(at time.Time) {
	if !s.unsettled.Load() {
		return
	}
	passive := s.passive()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := at.Sub(s.epoch)
	if !passive && !s.turned {
		s.turned, s.settled = true, min(s.settled, now+batchDelay)
	}
	if now >= s.settled {
		s.unsettled.Store(false)
	}
}
