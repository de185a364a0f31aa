package bluezshim

import (
	"log/slog"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
)

const (
	// maxNotes is how many notifications of one peripheral wait for the loop while the bus is slow: minutes of what a
	// link can carry. Further ones are dropped until some were taken, so that those that were taken are a run
	// without gaps; bluetoothd, which lives on the link itself, would stop reading it.
	maxNotes = 16384
	// burstGap is how close notifications follow one another in a burst.
	burstGap = time.Millisecond
)

// noteQuota counts the notifications that wait for the loop, by peripheral, and tells bursts. It is goroutine-safe.
type noteQuota struct {
	log *slog.Logger

	mu   lockorder.Mutex[lockorder.BusEvents]
	last time.Time // when a notification came last
	of   map[ble.Address]*notes
}

// notes counts one peripheral's notifications that wait, and those that were dropped since none waited.
type notes struct {
	addr    ble.Address
	waiting atomic.Int32 // it grows under mu
	dropped atomic.Int32
}

// add counts a notification that is about to be posted; nil if it is to be dropped. It reports whether the notification
// belongs to a burst.
func (q *noteQuota) add(a ble.Address) (n *notes, burst bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	burst = now.Sub(q.last) < burstGap
	q.last = now
	n = q.of[a]
	if n == nil {
		n = &notes{addr: a}
		q.of[a] = n
	}
	if n.waiting.Load() >= maxNotes {
		if n.dropped.Add(1) == 1 {
			q.log.Warn("Notifications come faster than the bus takes them; some are dropped", "device", a.String())
		}
		return nil, burst
	}
	n.waiting.Add(1)
	return n, burst
}

// taken is called in the loop for each notification that add counted.
func (q *noteQuota) taken(n *notes) {
	if n.waiting.Add(-1) > 0 || n.dropped.Load() == 0 {
		return
	}
	q.log.Warn("The bus takes notifications again", "device", n.addr.String(), "dropped", n.dropped.Swap(0))
}

// forget ends the count of a peripheral whose link ended, unless some of its next link wait already.
func (q *noteQuota) forget(a ble.Address) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := q.of[a]; n != nil && n.waiting.Load() == 0 {
		delete(q.of, a)
	}
}
