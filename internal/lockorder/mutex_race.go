//go:build race

package lockorder

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
)

// Mutex is a mutual exclusion lock with a place in the order. The zero value is unlocked. It must not be copied.
type Mutex[R Rank] struct {
	mu    sync.Mutex
	owner int64 // the goroutine that holds it, under mu
}

// Lock takes the lock. It panics if the goroutine holds one that comes no earlier.
func (m *Mutex[R]) Lock() {
	var r R
	id := goroutine()
	check(id, r)
	m.mu.Lock()
	m.owner = id
	took(id, r)
}

// TryLock takes the lock if it is free. It waits for nobody, so the order does not matter; what is taken while it is
// held counts.
func (m *Mutex[R]) TryLock() bool {
	if !m.mu.TryLock() {
		return false
	}
	var r R
	m.owner = goroutine()
	took(m.owner, r)
	return true
}

// Unlock lets go of the lock.
func (m *Mutex[R]) Unlock() {
	var r R
	left(m.owner, r)
	m.mu.Unlock()
}

// places are the ranks by their place.
var places = func() map[Rank]int {
	p := make(map[Rank]int, len(order))
	for i, r := range order {
		p[r] = i
	}
	return p
}()

// held are the locks that each goroutine holds, in the order in which it took them; spare are slices for those to come.
var (
	heldMu sync.Mutex
	held   = map[int64][]Rank{}
	spare  [][]Rank
	trace  [64]byte // the begin of a stack trace
)

func check(id int64, r Rank) {
	place, known := places[r]
	if !known {
		panic(fmt.Sprintf("lockorder: %s has no place in the order", nameOf(r)))
	}
	heldMu.Lock()
	defer heldMu.Unlock()
	for _, h := range held[id] {
		if places[h] >= place {
			msg := fmt.Sprintf("lockorder: %s is taken with %s held, which comes no earlier in the order", nameOf(r), nameOf(h))
			fmt.Fprintf(os.Stderr, "%s\n%s\n", msg, debug.Stack()) // some callers recover from panics
			panic(msg)
		}
	}
}

func took(id int64, r Rank) {
	heldMu.Lock()
	defer heldMu.Unlock()
	list, holds := held[id]
	if n := len(spare); !holds && n > 0 {
		list, spare = spare[n-1], spare[:n-1]
	}
	held[id] = append(list, r)
}

func left(id int64, r Rank) {
	heldMu.Lock()
	defer heldMu.Unlock()
	list := held[id]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == r {
			list = slices.Delete(list, i, i+1)
			break
		}
	}
	if len(list) == 0 {
		delete(held, id)
		spare = append(spare, list)
		return
	}
	held[id] = list
}

// goroutine is the number of the calling goroutine, as its stack trace has it: "goroutine 7 [running]". It allocates
// nothing.
func goroutine() int64 {
	heldMu.Lock()
	defer heldMu.Unlock()
	n := int64(0)
	for _, c := range trace[len("goroutine "):runtime.Stack(trace[:], false)] {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int64(c-'0')
	}
	return n
}
