//go:build race && (amd64 || arm64)

package lockorder

import (
	"sync"
	"testing"
)

// What is read of the runtime is what a stack trace says, in every goroutine.
func TestGoroutine(t *testing.T) {
	t.Parallel()
	if numberAt == 0 {
		t.Fatal("the place of a goroutine's number was not found: each lock takes a stack trace")
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if got, want := goroutine(), tracedNumber(); got != want {
				t.Errorf("goroutine %d, want %d", got, want)
			}
		})
	}
	wg.Wait()
}

func BenchmarkLock(b *testing.B) {
	var mu Mutex[Owners]
	for b.Loop() {
		mu.Lock()
		//lint:ignore SA2001 that is what is measured
		mu.Unlock()
	}
}
