package dbusobj

import (
	"container/heap"
	"encoding/binary"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"bluez-esphome/internal/lockorder"
)

// What may wait for the loop. A client that has more waiting is refused, so that the reader never has to stop: behind
// it are the calls of all others.
const (
	// Of one client: a whole tree's worth of calls at once, or the 10,000 writes of a firmware, and one message of the
	// largest size behind others.
	maxClientMessages = 32768
	maxClientBytes    = 16 << 20
	maxClientFDs      = 64
	// Of all together. When that is reached, a client with few and small ones waiting is still served.
	maxAllMessages = 131072
	maxAllBytes    = 64 << 20
	maxAllFDs      = 512
	fewMessages    = 16
	smallMessage   = 4 << 10
)

// allowance is how much of the loop's time a client may have before others go first. Within it, as long as nobody asks
// for much, calls of different clients are handled in the order of their arrival, as bluetoothd does.
const allowance = time.Millisecond

// item is a client's message that waits.
type item struct {
	seq  uint64 // in the order of arrival
	msg  *message
	from *wire
}

// work is a turn of the loop: a message, or else functions.
type work struct {
	msg   *message
	from  *wire
	funcs []func() // until the next turn
}

func (w work) close() {
	if w.msg != nil {
		w.msg.close()
	}
}

// postTurn is how many functions run in one turn, before it is a message's turn. Most are notifications, which are
// small beside a call: the calls of a client must not slow them down to their own pace.
const postTurn = 64

// inbox queues work for the loop: posted functions in one queue, the messages of each client in another, each in the
// order of arrival. Functions and messages take turns: up to postTurn functions, one message. Among the clients, the
// one that has had the least of the loop's time is next (start-time fair queueing): a client that asks for much waits
// for itself, and one that asks now and then is served at once.
//
// The inbox also decides who runs the loop. One goroutine at a time does: that of [Conn.Run], or one that brings work
// and helps, because work that is done where it arises needs no wake-up. An inbox is goroutine-safe.
type inbox struct {
	wake chan struct{} // size 1: there is work for Run, or the loop is free

	mu      lockorder.Mutex[lockorder.Loop]
	posts   []func()
	cut     bool              // posts is the end of a longer slice
	ran     []func()          // of the present turn
	clients map[string]*queue // by sender; idle ones are kept while they have had more than their share
	waiting queueHeap         // those with messages, but for served
	served  *queue            // whose message the loop handles
	clock   int64             // the start of the message handled last
	last    uint64            // number of the message that came last
	kept    int               // how many clients the last clean-up left
	posted  bool              // the last turn was of functions
	closed  bool
	serving bool // Run runs: others may help
	busy    bool // a goroutine runs the loop, and looks for more work before it leaves
	wanted  bool // Run waits for the loop

	messages, bytes, fds int // of all clients
}

// queue is the messages of one client.
type queue struct {
	items      []item
	head       int
	bytes, fds int
	start      int64 // how much of the loop's time the client has had, in ns, where the others are at clock
	used       int64 // what it has had since, not yet counted
	refused    bool  // a message was, since the queue was last empty
}

func (q *queue) len() int    { return len(q.items) - q.head }
func (q *queue) first() item { return q.items[q.head] }

// pop takes the first message; there must be one.
func (q *queue) pop() item {
	it := q.items[q.head]
	q.items[q.head] = item{}
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > 64 {
			q.items = nil
		}
	} else if q.head > 1024 && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.bytes -= it.msg.size()
	q.fds -= len(it.msg.fds)
	return it
}

// queueHeap is ordered by start; among equals by which message came first.
type queueHeap []*queue

func (h queueHeap) Len() int { return len(h) }
func (h queueHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	return a.start < b.start || a.start == b.start && a.first().seq < b.first().seq
}
func (h queueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *queueHeap) Push(q any)   { *h = append(*h, q.(*queue)) }
func (h *queueHeap) Pop() any {
	n := len(*h) - 1
	q := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	return q
}

func newInbox() *inbox {
	return &inbox{wake: make(chan struct{}, 1), clients: make(map[string]*queue)}
}

// post queues a function. It reports whether the loop may still run it. Unless the caller goes on to help, Run is
// woken.
func (b *inbox) post(f func(), help bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.posts = append(b.posts, f)
	if !help && !b.busy {
		signal(b.wake)
	}
	return true
}

// put queues a message, of which it becomes the owner, for a caller that goes on to help. It reports false if too much
// of the client waits already: the message then still belongs to the caller. For the first message refused since the
// client's queue was last empty, first is true.
func (b *inbox) put(m *message, from *wire) (ok, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		m.close()
		return true, false
	}
	client := m.client()
	q := b.clients[client]
	if q == nil {
		q = &queue{start: b.clock}
		b.tidy()
		b.clients[client] = q
	}
	if m.sender != busName && b.tooMuch(q, m) {
		first = !q.refused
		q.refused = true
		return false, first
	}
	b.last++
	q.items = append(q.items, item{seq: b.last, msg: m, from: from})
	if q.len() == 1 && q != b.served {
		q.start = max(q.start, b.clock)
		heap.Push(&b.waiting, q)
	}
	q.bytes += m.size()
	q.fds += len(m.fds)
	b.messages++
	b.bytes += m.size()
	b.fds += len(m.fds)
	return true, false
}

func (b *inbox) tooMuch(q *queue, m *message) bool {
	if q.len() >= maxClientMessages || q.bytes > maxClientBytes || len(m.fds) > 0 && q.fds+len(m.fds) > maxClientFDs {
		return true
	}
	full := b.messages >= maxAllMessages || b.bytes > maxAllBytes || len(m.fds) > 0 && b.fds+len(m.fds) > maxAllFDs
	return full && (q.len() >= fewMessages || m.size() > smallMessage || len(m.fds) > 0)
}

// tidy forgets clients that wait for nothing and have had no more than others, now and then.
func (b *inbox) tidy() {
	if len(b.clients) < 2*b.kept+64 {
		return
	}
	for client, q := range b.clients {
		if q.len() == 0 && q != b.served && q.start <= b.clock {
			delete(b.clients, client)
		}
	}
	b.kept = len(b.clients)
}

// serve lets others help.
func (b *inbox) serve() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serving = true
}

// claim makes the caller the one that runs the loop until it leaves. It reports false if another goroutine runs it.
func (b *inbox) claim() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy {
		b.wanted = true
		return false
	}
	b.busy, b.wanted = true, false
	return true
}

// claimToHelp is claim for a helper. Run goes first: while it waits for the loop, no helper gets it.
func (b *inbox) claimToHelp() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy || b.wanted || b.closed || !b.serving {
		return false
	}
	b.busy = true
	return true
}

// finish leaves the loop and reports true, if no work waits.
func (b *inbox) finish() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.posts) > 0 || b.waiting.Len() > 0 {
		return false
	}
	b.leaveLocked()
	return true
}

// leave leaves the loop. If work waits, Run is woken for it.
func (b *inbox) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leaveLocked()
}

func (b *inbox) leaveLocked() {
	b.busy = false
	if b.wanted || len(b.posts) > 0 || b.waiting.Len() > 0 || b.served != nil && b.served.len() > 0 {
		signal(b.wake)
	}
}

// next gives the next turn to whoever runs the loop; spent is how long the last one took.
func (b *inbox) next(spent time.Duration) (w work, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.ran)
	b.ran = b.ran[:0]
	if q := b.served; q != nil {
		b.served = nil
		q.used += int64(spent)
		if q.used >= int64(allowance) {
			q.start, q.used = q.start+q.used, 0
		}
		if q.len() > 0 {
			heap.Push(&b.waiting, q)
		} else if q.refused = false; b.waiting.Len() == 0 {
			b.clock, q.used = max(b.clock, q.start), 0 // nobody has to catch up
		}
	}
	if len(b.posts) > 0 && (!b.posted || b.waiting.Len() == 0) {
		b.posted = true
		return work{funcs: b.takePosts()}, true
	}
	b.posted = false
	if b.waiting.Len() == 0 {
		return work{}, false
	}
	q := heap.Pop(&b.waiting).(*queue)
	b.served, b.clock = q, q.start
	it := q.pop()
	b.messages--
	b.bytes -= it.msg.size()
	b.fds -= len(it.msg.fds)
	return work{msg: it.msg, from: it.from}, true
}

// takePosts takes the functions of one turn. It keeps a little memory, so that a function that comes alone allocates
// nothing here.
func (b *inbox) takePosts() []func() {
	n := min(len(b.posts), postTurn)
	b.ran = append(b.ran, b.posts[:n]...)
	clear(b.posts[:n])
	switch {
	case n < len(b.posts):
		b.posts, b.cut = b.posts[n:], true
	case b.cut:
		b.posts, b.cut = nil, false
	default:
		b.posts = b.posts[:0]
	}
	return b.ran
}

// putBack puts back what a turn did not run, before what was posted meanwhile.
func (b *inbox) putBack(funcs []func()) {
	if len(funcs) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.posts, b.cut = slices.Concat(funcs, b.posts), true
	}
}

// close drops everything; nothing more is accepted.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, q := range b.clients {
		for _, it := range q.items[q.head:] {
			it.msg.close()
		}
	}
	b.posts, b.clients, b.waiting = nil, nil, nil
}

// client names the queue that the message belongs to: that of its sender. The bus's signal that a client left belongs
// to the client's queue, behind all that it sent.
func (m *message) client() string {
	if m.sender != busName || m.typ != dbus.TypeSignal || m.member != "NameOwnerChanged" || m.sig != "sss" || len(m.body) < 4 {
		return m.sender
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if m.bigEndian {
		order = binary.BigEndian
	}
	if n := int(order.Uint32(m.body)); n > 0 && n <= len(m.body)-4 && m.body[4] == ':' {
		return string(m.body[4 : 4+n])
	}
	return m.sender
}
