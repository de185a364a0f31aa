// Package lapse tells when the process did not run for a while: it was stopped (SIGSTOP, a paused container or virtual
// machine), or its machine was suspended. Timers then fire before the sockets are read that have what came meanwhile.
// Whoever counts silence looks at its socket first, and counts from when the process goes on.
package lapse

import (
	"time"

	"bluez-esphome/internal/lockorder"
)

const (
	// over is how late a timer fires if the process did not run: a busy machine delays it by less.
	over = 2 * time.Second
	// Grace is for how long after a lapse what came meanwhile may take to be read.
	Grace = 2 * time.Second
)

// Late reports whether a timer that was due then and fires now shows that the process did not run.
func Late(due, now time.Time) bool { return now.Sub(due) >= over }

// A Watch is the memory of a loop that waits for silence. Its zero value is ready. It is not goroutine-safe.
type Watch struct{ due, woken time.Time }

// Until notes when the loop is to go on at the latest.
func (w *Watch) Until(due time.Time) { w.due = due }

// Woke notes that the loop goes on, and reports whether the process did not run before.
func (w *Watch) Woke(now time.Time) bool {
	lapsed := !w.due.IsZero() && Late(w.due, now)
	if lapsed {
		w.woken = now
	}
	return lapsed
}

// Since is from when on silence counts for a peer that was heard last at that time.
func (w *Watch) Since(heard time.Time) time.Time {
	if w.woken.After(heard) {
		return w.woken
	}
	return heard
}

// A Timer is one that AfterFunc set. It is goroutine-safe.
type Timer struct {
	mu      lockorder.Mutex[lockorder.Leaf]
	t       *time.Timer
	stopped bool
}

// AfterFunc is time.AfterFunc, except that f is called by Grace later if the process did not run when it was due.
func AfterFunc(d time.Duration, f func()) *Timer { return afterFunc(d, f, time.Now) }

func afterFunc(d time.Duration, f func(), now func() time.Time) *Timer {
	t, due := new(Timer), now().Add(d)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.t = time.AfterFunc(d, func() {
		if !Late(due, now()) || !t.again(f) {
			f()
		}
	})
	return t
}

// again has f called by Grace later, and reports false if the timer was stopped when it had fired.
func (t *Timer) again(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stopped {
		t.t = time.AfterFunc(Grace, f)
	}
	return !t.stopped
}

// Stop keeps f from being called, unless it was already.
func (t *Timer) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	t.t.Stop()
}
