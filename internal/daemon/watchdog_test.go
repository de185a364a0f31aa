package daemon

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatchdog: signs of life come while the loop answers, none while it hangs or is gone.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var alive atomic.Int32
		var gone atomic.Bool
		var free atomic.Pointer[chan struct{}] // closed while the loop answers
		hang := func() chan struct{} {
			c := make(chan struct{})
			free.Store(&c)
			return c
		}
		close(hang())
		do := func(ctx context.Context, f func()) error {
			if gone.Load() {
				return errors.New("gone")
			}
			select {
			case <-*free.Load():
				f()
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			watchdog(ctx, 15*time.Second, do, func() { alive.Add(1) })
		}()
		wait := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		wait(61 * time.Second)
		if n := alive.Load(); n != 5 {
			t.Errorf("%d signs of life in 61 s, want 5", n)
		}
		answer := hang()
		wait(time.Minute)
		if n := alive.Swap(0); n != 5 {
			t.Errorf("%d signs of life while the loop hangs, want none", n-5)
		}
		close(answer)
		wait(time.Second)
		if alive.Swap(0) == 0 {
			t.Error("no sign of life once the loop answers again")
		}
		gone.Store(true)
		wait(time.Minute)
		if n := alive.Load(); n != 0 {
			t.Errorf("%d signs of life after the loop ended", n)
		}
		cancel()
		<-ended
	})
}
