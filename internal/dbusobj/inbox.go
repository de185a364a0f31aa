package dbusobj

import "sync"

// What may wait for the loop before the reader waits too: bytes of messages, messages,
// and file descriptors in them.
const (
	maxWaitingBytes    = 8 << 20
	maxWaitingMessages = 8192
	maxWaitingFDs      = 64
)

// item is work for the loop: a message or a function.
type item struct {
	msg  *message
	from *wire // of msg
	f    func()
}

// inbox queues work for the loop in the order of arrival. It is goroutine-safe.
type inbox struct {
	wake  chan struct{} // size 1: there is work
	space chan struct{} // size 1: the loop took the work

	mu                   sync.Mutex
	items                []item
	bytes, messages, fds int
	closed               bool
}

func newInbox() *inbox {
	return &inbox{wake: make(chan struct{}, 1), space: make(chan struct{}, 1)}
}

// post queues a function. It reports whether the loop may still run it.
func (q *inbox) post(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.items = append(q.items, item{f: f})
	signal(q.wake)
	return true
}

// put queues a message, of which it becomes the owner; it waits while too many wait.
func (q *inbox) put(m *message, from *wire) {
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			m.close()
			return
		}
		if q.bytes <= maxWaitingBytes && q.messages < maxWaitingMessages && q.fds <= maxWaitingFDs {
			q.items = append(q.items, item{msg: m, from: from})
			q.bytes += len(m.body)
			q.messages++
			q.fds += len(m.fds)
			signal(q.wake)
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		select {
		case <-q.space:
		case <-from.dead:
			m.close()
			return
		}
	}
}

// take returns all that waits; old is a slice to reuse.
func (q *inbox) take(old []item) []item {
	if clear(old); cap(old) > 2*maxWaitingMessages {
		old = nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = old[:0]
	q.bytes, q.messages, q.fds = 0, 0, 0
	signal(q.space)
	return items
}

// close drops everything; nothing more is accepted.
func (q *inbox) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	closeItems(q.items)
	q.items = nil
}

func closeItems(items []item) {
	for _, it := range items {
		if it.msg != nil {
			it.msg.close()
		}
	}
}
