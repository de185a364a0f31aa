package apiserver

import (
	"context"

	"bluez-esphome/internal/apiwire"

	"bluez-esphome/internal/lockorder"
)

// QueueLimits bounds what waits to be written to one client, behind what the
// operating system buffers already.
type QueueLimits struct {
	// Messages and Bytes bound everything that must not be lost; more ends the session, as in
	// the firmware. Defaults: 256 and 256 KiB.
	Messages, Bytes int
	// Adverts and Notifications bound the messages among them that may be lost, in number.
	// Defaults: 32 and 128.
	Adverts, Notifications int
	// Relayed and RelayedBytes bound what Session.Relay has waiting; more makes it wait. Defaults: 32 and 64 KiB.
	Relayed, RelayedBytes int
	// DropOldest: of too many advertisement batches the oldest is lost, otherwise the
	// newest, as in the firmware. Of too many notifications it is always the newest.
	DropOldest bool
}

// Defaults. The firmware has 8 messages behind the buffer of its TCP stack.
const (
	defaultQueueMessages      = 256
	defaultQueueBytes         = 256 << 10
	defaultQueueAdverts       = 32
	defaultQueueNotifications = 128
	defaultQueueRelayed       = 32
	defaultQueueRelayedBytes  = 64 << 10
	// writeSize is about how much is written at once.
	writeSize = 16 << 10
)

// class says whether a message may be lost.
type class uint8

const (
	reliable class = iota
	advert
	notification
	relayed // whose sender waits for room
	classes
)

type message struct {
	id      apiwire.ID
	payload []byte
	class   class
}

// queue is what waits to be written. Messages leave in the order in which they came.
type queue struct {
	limits QueueLimits
	wake   chan struct{} // capacity 1: "there is something to write, or an end"
	kicked chan struct{} // capacity 1: "look at the times again"
	room   chan struct{} // capacity 1: "there may be room for what is relayed"

	mu       lockorder.Mutex[lockorder.HostQueue]
	msgs     []message
	bytes    int          // of msgs
	relayed  int          // bytes of those that are relayed
	count    [classes]int // of msgs
	busy     bool
	finished error           // why, once nothing more is taken
	idle     []chan struct{} // closed when nothing waits and nothing is being written
	taken    [classes]uint64
	dropped  [classes]uint64
}

func newQueue(l QueueLimits) *queue {
	if l.Messages == 0 {
		l.Messages = defaultQueueMessages
	}
	if l.Bytes == 0 {
		l.Bytes = defaultQueueBytes
	}
	if l.Adverts == 0 {
		l.Adverts = defaultQueueAdverts
	}
	if l.Notifications == 0 {
		l.Notifications = defaultQueueNotifications
	}
	if l.Relayed == 0 {
		l.Relayed = defaultQueueRelayed
	}
	if l.RelayedBytes == 0 {
		l.RelayedBytes = defaultQueueRelayedBytes
	}
	return &queue{limits: l, wake: make(chan struct{}, 1), kicked: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// put adds m and reports false if the queue of what must not be lost is full.
func (q *queue) put(m message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.finished != nil {
		return true // the session is ending: nobody reads on
	}
	switch {
	case m.class == advert && q.count[advert] >= q.limits.Adverts:
		q.dropped[advert]++
		if !q.limits.DropOldest {
			return true
		}
		q.dropOldest()
	case m.class == notification && q.count[notification] >= q.limits.Notifications:
		q.dropped[notification]++
		return true
	case m.class == reliable && (q.count[reliable] >= q.limits.Messages || q.bytes+len(m.payload) > q.limits.Bytes):
		return false
	}
	q.addLocked(m)
	return true
}

func (q *queue) addLocked(m message) {
	q.msgs = append(q.msgs, m)
	q.bytes += len(m.payload)
	q.count[m.class]++
	if m.class == relayed {
		q.relayed += len(m.payload)
	}
	q.signal()
}

// dropOldest drops the oldest advertisement batch.
func (q *queue) dropOldest() {
	for i, m := range q.msgs {
		if m.class == advert {
			q.msgs = append(q.msgs[:i], q.msgs[i+1:]...)
			q.bytes -= len(m.payload)
			q.count[advert]--
			return
		}
	}
}

func (q *queue) signal() { signal(q.wake) }

// kick makes keepAlive look at the times again.
func (q *queue) kick() { signal(q.kicked) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// finish lets take fail with err once everything was written.
func (q *queue) finish(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = err
	q.signal()
}

// take waits for messages and removes about as many as fit one write. Having
// returned from writing, the caller takes again.
func (q *queue) take(ctx context.Context) ([]message, error) {
	for {
		q.mu.Lock()
		n, size := 0, 0
		before := q.count[relayed]
		for n < len(q.msgs) && size < writeSize {
			m := &q.msgs[n]
			size += len(m.payload)
			q.count[m.class]--
			q.taken[m.class]++
			if m.class == relayed {
				q.relayed -= len(m.payload)
			}
			n++
		}
		if n > 0 {
			if q.count[relayed] < before {
				signal(q.room)
			}
			out := q.msgs[:n:n]
			q.msgs = q.msgs[n:]
			if len(q.msgs) == 0 {
				q.msgs = nil
			}
			q.bytes -= size
			q.busy = true
			q.mu.Unlock()
			return out, nil
		}
		q.busy = false
		for _, ch := range q.idle {
			close(ch)
		}
		q.idle = nil
		finished := q.finished
		q.mu.Unlock()
		if finished != nil {
			return nil, finished
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-q.wake:
		}
	}
}

// drained returns a channel that is closed when everything queued so far was written.
func (q *queue) drained() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	ch := make(chan struct{})
	if len(q.msgs) == 0 && !q.busy {
		close(ch)
	} else {
		q.idle = append(q.idle, ch)
	}
	return ch
}

// Drained returns a channel that is closed when everything sent so far was
// handed to the connection. It may stay open when the session ends.
func (s *Session) Drained() <-chan struct{} { return s.queue.drained() }

// Counts is what became of the messages that may be lost. Advertisement batches are messages 93, or 67 with one
// advertisement each.
type Counts struct {
	Adverts, Notifications               uint64 // handed to the connection
	DroppedAdverts, DroppedNotifications uint64 // the client did not read fast enough
}

// Counts counts since the session began.
func (s *Session) Counts() Counts {
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	return Counts{
		Adverts: q.taken[advert], Notifications: q.taken[notification],
		DroppedAdverts: q.dropped[advert], DroppedNotifications: q.dropped[notification],
	}
}
