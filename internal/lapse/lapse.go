// Package lapse tells when the process did not run for a while: it was stopped (SIGSTOP, a paused container or virtual
// machine), or its machine was suspended. Timers then fire before the sockets are read that have what came meanwhile.
// Whoever counts silence looks at its socket first, and counts from when the process goes on.
package lapse

import (
	"context"
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

// WithTimeoutCause is context.WithTimeoutCause, except that the context ends by Grace later if the process did not run
// when it was due, and that it has no Deadline and ends as one that was cancelled.
func WithTimeoutCause(parent context.Context, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	t := AfterFunc(d, func() { cancel(cause) })
	return ctx, func() {
		t.Stop()
		cancel(nil)
	}
}

// A Clock is a time.Timer of a loop that does not take it for due when the process did not run. It is not
// goroutine-safe.
type Clock struct {
	// C is to be asked by Due once it has something.
	C   <-chan time.Time
	t   *time.Timer
	due time.Time
}

// NewClock is time.NewTimer.
func NewClock(d time.Duration) *Clock {
	t := time.NewTimer(d)
	return &Clock{C: t.C, t: t, due: time.Now().Add(d)}
}

// Reset is time.Timer.Reset.
func (k *Clock) Reset(d time.Duration) {
	k.t.Reset(d)
	k.due = time.Now().Add(d)
}

// Due reports whether the time is over. It is not where the process did not run when it was: then C has something again
// by Grace later.
func (k *Clock) Due() bool { return k.dueAt(time.Now()) }

func (k *Clock) dueAt(now time.Time) bool {
	if !Late(k.due, now) {
		return true
	}
	k.t.Reset(Grace)
	k.due = now.Add(Grace)
	return false
}

// Stop is time.Timer.Stop.
func (k *Clock) Stop() { k.t.Stop() }
