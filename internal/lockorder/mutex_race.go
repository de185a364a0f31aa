//go:build race

package lockorder

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
)

// Mutex is a mutual exclusion lock with a place in the order. The zero value is unlocked. It must not be copied.
type Mutex[R Rank] struct {
	mu    sync.Mutex
	owner uint64 // the goroutine that holds it, under mu
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

// shards keep the locks that goroutines hold, each those of some. They are many because whoever takes one lock after
// another is ordered by it, and the race detector takes that for the order which the program itself must make.
var shards [256]shard

type shard struct {
	mu    sync.Mutex
	held  map[uint64][]Rank // by goroutine, in the order in which it took them
	spare [][]Rank          // for those to come
}

// of locks the shard of a goroutine.
func of(id uint64) *shard {
	s := &shards[id%uint64(len(shards))]
	s.mu.Lock()
	return s
}

func check(id uint64, r Rank) {
	place, known := places[r]
	if !known {
		panic(fmt.Sprintf("lockorder: %s has no place in the order", nameOf(r)))
	}
	s := of(id)
	defer s.mu.Unlock()
	for _, h := range s.held[id] {
		if places[h] >= place {
			msg := fmt.Sprintf("lockorder: %s is taken with %s held, which comes no earlier in the order", nameOf(r), nameOf(h))
			fmt.Fprintf(os.Stderr, "%s\n%s\n", msg, debug.Stack()) // some callers recover from panics
			panic(msg)
		}
	}
}

func took(id uint64, r Rank) {
	s := of(id)
	defer s.mu.Unlock()
	list, holds := s.held[id]
	if n := len(s.spare); !holds && n > 0 {
		list, s.spare = s.spare[n-1], s.spare[:n-1]
	}
	if s.held == nil {
		s.held = map[uint64][]Rank{}
	}
	s.held[id] = append(list, r)
}

func left(id uint64, r Rank) {
	s := of(id)
	defer s.mu.Unlock()
	list := s.held[id]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == r {
			list = slices.Delete(list, i, i+1)
			break
		}
	}
	if len(list) == 0 {
		delete(s.held, id)
		s.spare = append(s.spare, list)
		return
	}
	s.held[id] = list
}
