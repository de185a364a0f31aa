package proxysim

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// scheduler runs functions at given times, in order of time and, at one
// time, in the order in which they were scheduled. Everything in it is
// guarded by mu, which is held while a function runs: it is the one lock of
// an Air.
type scheduler struct {
	mu   sync.Mutex
	seq  uint64
	heap eventHeap
	wake chan struct{} // capacity 1: "the earliest event changed"
}

// event is one scheduled function. It may be stopped at any time.
type event struct {
	at    time.Time
	seq   uint64
	fn    func()
	index int // in the heap; -1 once run or stopped
}

func newScheduler() *scheduler {
	return &scheduler{wake: make(chan struct{}, 1)}
}

// after schedules fn. The caller holds mu.
func (s *scheduler) after(d time.Duration, fn func()) *event {
	return s.at(time.Now().Add(d), fn)
}

// at schedules fn. The caller holds mu.
func (s *scheduler) at(t time.Time, fn func()) *event {
	s.seq++
	e := &event{at: t, seq: s.seq, fn: fn}
	heap.Push(&s.heap, e)
	if e.index == 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return e
}

// stop takes e, which may be nil, from the schedule. The caller holds mu.
func (s *scheduler) stop(e *event) {
	if e != nil && e.index >= 0 {
		heap.Remove(&s.heap, e.index)
	}
}

// run lets time pass until ctx ends.
func (s *scheduler) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(s.runDue())
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// idleWait is how long an empty schedule sleeps; any new event wakes it.
const idleWait = time.Hour

// runDue runs what is due and says how long there is until the next event.
func (s *scheduler) runDue() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.heap) > 0 {
		e := s.heap[0]
		if wait := time.Until(e.at); wait > 0 {
			return wait
		}
		heap.Pop(&s.heap)
		e.fn()
	}
	return idleWait
}

type eventHeap []*event

func (h eventHeap) Len() int { return len(h) }

func (h eventHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}

func (h eventHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *eventHeap) Push(x any) {
	e := x.(*event)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}
