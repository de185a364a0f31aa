package lapse

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Silence counts from when the process goes on.
func TestWatch(t *testing.T) {
	begin := time.Now()
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	var w Watch
	for _, step := range []struct {
		due, woke, heard, since int
		lapsed                  bool
	}{
		{due: 3, woke: 3, heard: 0, since: 0},
		{due: 6, woke: 7, heard: 0, since: 0}, // a busy machine
		{due: 10, woke: 3600, heard: 0, since: 3600, lapsed: true},
		{due: 3603, woke: 3603, heard: 0, since: 3600},
		{due: 3606, woke: 3606, heard: 3605, since: 3605},
	} {
		w.Until(at(step.due))
		if got := w.Woke(at(step.woke)); got != step.lapsed {
			t.Errorf("%+v: lapsed %v", step, got)
		}
		if got := w.Since(at(step.heard)); !got.Equal(at(step.since)) {
			t.Errorf("%+v: since %v", step, got.Sub(begin))
		}
	}
}

func TestAfterFunc(t *testing.T) {
	for _, c := range []struct {
		name   string
		lapse  time.Duration // for which the process does not run
		stop   time.Duration // after it goes on; 0: never
		called time.Duration // after it goes on, -1: never
	}{
		{"never stopped", 0, 0, 0},
		{"a busy machine", time.Second, 0, 0},
		{"stopped for a minute", time.Minute, 0, Grace},
		{"no longer wanted", time.Minute, Grace / 2, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var skew time.Duration
				var mu sync.Mutex // of skew
				due := time.Now().Add(30 * time.Second)
				called := time.Duration(-1)
				timer := afterFunc(30*time.Second, func() { called = time.Since(due) }, func() time.Time {
					mu.Lock()
					defer mu.Unlock()
					return time.Now().Add(skew)
				})
				mu.Lock()
				skew = c.lapse
				mu.Unlock()
				if c.stop > 0 {
					time.AfterFunc(30*time.Second+c.stop, timer.Stop)
				}
				<-time.After(time.Hour)
				synctest.Wait()
				if called != c.called {
					t.Errorf("called after %v, want %v", called, c.called)
				}
			})
		})
	}
}

// A clock that fires late is not due; it is once the time to read what came is over.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := NewClock(10 * time.Second)
		defer k.Stop()
		<-k.C
		if !k.dueAt(time.Now().Add(over - 1)) {
			t.Error("a busy machine delays it for good")
		}
		k.Reset(10 * time.Second)
		<-k.C
		begin := time.Now()
		if k.dueAt(begin.Add(time.Minute)) {
			t.Error("it is due although the process did not run")
		}
		<-k.C
		if took := time.Since(begin); took != Grace || !k.dueAt(begin.Add(time.Minute+Grace)) {
			t.Errorf("it is not due after %v", took)
		}
	})
}

func TestWithTimeoutCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("why")
		begin := time.Now()
		ctx, cancel := WithTimeoutCause(t.Context(), time.Minute, why)
		<-ctx.Done()
		if took := time.Since(begin); took != time.Minute || context.Cause(ctx) != why {
			t.Errorf("it ended after %v: %v", took, context.Cause(ctx))
		}
		cancel()
		ctx, cancel = WithTimeoutCause(t.Context(), time.Minute, why)
		cancel()
		if <-ctx.Done(); context.Cause(ctx) == why {
			t.Error("it was over before its time")
		}
	})
}
