// Package tasktest runs long-lived parts of a program in tests.
package tasktest

import (
	"context"
	"sync"
	"testing"
)

// Background runs f in a goroutine. Its context ends, and its return is awaited, at the end of the test or, if that
// comes first, when stop is called. An error of f fails the test.
func Background(t testing.TB, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}
