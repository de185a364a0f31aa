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
	msg *message
	f   func()
}

// inbox queues work for the loop in the order of arrival, and says who runs the loop: one at a time, the goroutine of
// [Conn.Run] or one that helps, because work that is done where it arises needs no wake-up. It is goroutine-safe.
type inbox struct {
	wake  chan struct{} // size 1: there is work for Run, or the loop is free
	space chan struct{} // size 1: the loop took work

	mu                   sync.Mutex
	items                []item
	bytes, messages, fds int
	serving              bool // Run runs: others may help
	busy                 bool // somebody runs the loop, and looks for more work before it stops
	closed               bool
}

func newInbox() *inbox {
	return &inbox{wake: make(chan struct{}, 1), space: make(chan struct{}, 1)}
}

// post queues a function. It reports whether the loop may still run it. Unless the caller is going to help, Run is woken.
func (q *inbox) post(f func(), help bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.items = append(q.items, item{f: f})
	if !help && !q.busy {
		signal(q.wake)
	}
	return true
}

// put queues a message, of which it becomes the owner; it waits while too many wait. The caller is going to help.
func (q *inbox) put(m *message, dead <-chan struct{}) {
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			m.close()
			return
		}
		if q.bytes <= maxWaitingBytes && q.messages < maxWaitingMessages && q.fds <= maxWaitingFDs {
			q.items = append(q.items, item{msg: m})
			q.count(m, 1)
			q.mu.Unlock()
			return
		}
		signal(q.wake)
		q.mu.Unlock()
		select {
		case <-q.space:
		case <-dead:
			m.close()
			return
		}
	}
}

func (q *inbox) count(m *message, n int) {
	q.bytes += n * len(m.body)
	q.messages += n
	q.fds += n * len(m.fds)
}

// claim makes the caller the one that runs the loop, until take returns nothing or yield is called. Run may always claim it when
// nobody else has; others while Run runs.
func (q *inbox) claim(help bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy || help && (q.closed || !q.serving) {
		return false
	}
	q.busy = true
	return true
}

// serve lets others help, or not any more.
func (q *inbox) serve(on bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.serving = on
}

// take returns what waits, at most limit items; with none the caller does not run the loop any more. old is a slice to reuse.
func (q *inbox) take(old []item, limit int) []item {
	if clear(old); cap(old) > 2*maxWaitingMessages {
		old = nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	if len(items) == 0 {
		q.free()
		return nil
	}
	if len(items) <= limit {
		q.items = old[:0]
		q.bytes, q.messages, q.fds = 0, 0, 0
	} else {
		items, q.items = items[:limit:limit], items[limit:]
		for _, it := range items {
			if it.msg != nil {
				q.count(it.msg, -1)
			}
		}
	}
	signal(q.space)
	return items
}

// yield leaves what waits to Run.
func (q *inbox) yield() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free()
}

func (q *inbox) free() {
	q.busy = false
	if len(q.items) > 0 || !q.serving {
		signal(q.wake)
	}
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
