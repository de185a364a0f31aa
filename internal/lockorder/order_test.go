package lockorder

import (
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	names := Names()
	if len(names) < 20 || !slices.Contains(names, "Owners") {
		t.Errorf("ranks: %q", names)
	}
	seen := map[string]bool{}
	for _, n := range names {
		if seen[n] {
			t.Errorf("%s stands twice in the order", n)
		}
		seen[n] = true
	}
}

// In a program with the race detector each violation of the order panics, at once and without anybody to deadlock with.
func TestOrder(t *testing.T) {
	t.Parallel()
	panics := func(f func()) (did bool) {
		defer func() { did = recover() != nil }()
		f()
		return false
	}
	var outer Mutex[Owners]
	var inner Mutex[Links]
	var another Mutex[Links]
	inOrder := func() {
		outer.Lock()
		defer outer.Unlock()
		inner.Lock()
		defer inner.Unlock()
	}
	inOrder()
	inner.Lock()
	if got := panics(outer.Lock); got != checks {
		t.Errorf("the outer lock is taken inside: panics %v", got)
	} else if !got {
		outer.Unlock()
	}
	if got := panics(another.Lock); got != checks {
		t.Errorf("a lock of the same rank is taken inside: panics %v", got)
	} else if !got {
		another.Unlock()
	}
	if !outer.TryLock() {
		t.Error("the outer lock is not free")
	}
	outer.Unlock()
	inner.Unlock()
	// What another goroutine holds does not matter.
	inner.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		outer.Lock()
		defer outer.Unlock()
	}()
	<-done
	// Nor does it which one lets go.
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		inner.Unlock()
	}()
	<-gone
	inOrder()
}
