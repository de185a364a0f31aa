package apiconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
)

// opKind distinguishes the requests that do not share answers.
type opKind uint8

const (
	opGATT opKind = iota // every request to an attribute: they share errors and partly answers
	opServices
	opConnect
	opDisconnect
	opPair
	opUnpair
	opClearCache
	opParams
)

// A lane has the requests between whose answers nothing distinguishes: the native API has no request numbers, and its
// answers carry the address and some of them the handle. So one request of a lane is outstanding at a time.
type laneKey struct {
	address ble.Address
	kind    opKind
	handle  uint32
}

const (
	// ackExpiry is how long the answer to a write without response is expected: proxies
	// answer those too, but drop answers when congested.
	ackExpiry = 2 * time.Second
	// abandonedGrace keeps a lane closed after its outstanding request was given up, so that its late answer is not taken
	// for the next request's.
	abandonedGrace = 2 * time.Second
	// abandonedConnect is the same for a connection attempt that was called off.
	abandonedConnect = 10 * time.Second
	// slotHold bounds the wait for a slot whose link has ended; the firmware gives up after 10 s.
	slotHold = 10 * time.Second
	// maxLanes and maxAcks bound what callers can make us remember.
	maxLanes = 1024
	// maxAcks is how many writes without response to one attribute may be on their way. ESPHome's stack loses writes that
	// it cannot queue, and its answers are the only sign of how far it is.
	maxAcks = 32
)

// op is one request that waits for its answer.
type op struct {
	key  laneKey
	want apiwire.ID    // the answer that completes it, within its kind
	turn chan struct{} // closed when it may be sent
	done chan struct{} // closed when it is answered
	// then is called, without locks, when it is answered or its timer ran out; nil if somebody waits for done.
	then  func()
	stays bool // it is about a link that is up: the link stays if the request is given up
	timer *time.Timer

	// Under ops.mu until it is answered.
	sent, answered bool

	err  error
	data []byte
	mtu  int

	services   []ble.Service
	attributes int
}

func newOp(a ble.Address, kind opKind, handle uint16, want apiwire.ID) *op {
	return &op{
		key: laneKey{a, kind, uint32(handle)}, want: want,
		turn: make(chan struct{}), done: make(chan struct{}),
	}
}

// lane is the queue of one key; its head is outstanding once it is sent.
type lane struct {
	queue     []*op
	acks      []time.Time   // expiries of answers to writes without response
	room      chan struct{} // closed when there are fewer than maxAcks, nil if nobody waits for it
	none      chan struct{} // closed when there are none
	abandoned time.Time     // until when an answer to a request given up may come
	late      apiwire.ID    // the message that is that answer
	timer     *time.Timer
}

// ops are the requests of one session.
type ops struct {
	mu    lockorder.Mutex[lockorder.Operations]
	lanes map[laneKey]*lane
	after []func() // what unlock is to call
	err   error    // the session has ended
	stray uint64
}

func newOps() *ops { return &ops{lanes: make(map[laneKey]*lane)} }

func (o *ops) lane(key laneKey) *lane {
	l := o.lanes[key]
	if l == nil {
		if len(o.lanes) >= maxLanes {
			o.sweep()
		}
		l = new(lane)
		o.lanes[key] = l
	}
	return l
}

// sweep forgets lanes with nothing to wait for.
func (o *ops) sweep() {
	now := time.Now()
	for key, l := range o.lanes {
		if l.expire(now); len(l.queue) == 0 && len(l.acks) == 0 && now.After(l.abandoned) {
			o.drop(key, l)
		}
	}
}

func (o *ops) drop(key laneKey, l *lane) {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.acked(len(l.acks))
	delete(o.lanes, key)
}

// acked removes the n oldest of the expected answers to writes without response.
func (l *lane) acked(n int) {
	l.acks = l.acks[n:]
	if l.room != nil && len(l.acks) < maxAcks {
		close(l.room)
		l.room = nil
	}
	if l.none != nil && len(l.acks) == 0 {
		close(l.none)
		l.none = nil
	}
}

func (l *lane) expire(now time.Time) {
	n := 0
	for n < len(l.acks) && !l.acks[n].After(now) {
		n++
	}
	l.acked(n)
}

// enter queues r, whose turn comes when all requests before it in its lane are answered.
func (o *ops) enter(r *op) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	l := o.lane(r.key)
	l.queue = append(l.queue, r)
	o.advance(r.key)
	return nil
}

// advance gives the head of the lane its turn, or sets a timer for it.
func (o *ops) advance(key laneKey) {
	l := o.lanes[key]
	if l == nil {
		return
	}
	now := time.Now()
	l.expire(now)
	if len(l.queue) == 0 {
		if len(l.acks) == 0 && !l.abandoned.After(now) {
			o.drop(key, l)
		}
		return
	}
	head := l.queue[0]
	if head.sent {
		return
	}
	var until time.Time
	if l.abandoned.After(now) {
		until = l.abandoned
	}
	if n := len(l.acks); n > 0 && head.want == apiwire.BluetoothGATTWriteResponse && l.acks[n-1].After(until) {
		until = l.acks[n-1]
	}
	if until.IsZero() {
		head.sent = true
		close(head.turn)
		return
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer = time.AfterFunc(until.Sub(now), func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.advance(key)
	})
}

// finish answers r, which is the head of its lane, and lets the next go.
func (o *ops) finish(l *lane, r *op, err error) {
	o.end(r, err)
	l.queue = l.queue[1:]
	o.advance(r.key)
}

// end completes r for whoever waits for it. The caller releases the lock by unlock, which runs r.then.
func (o *ops) end(r *op, err error) {
	r.answered, r.err = true, err
	if r.then == nil {
		close(r.done)
		return
	}
	r.timer.Stop()
	o.after = append(o.after, r.then)
}

// unlock releases the lock and then calls the functions of after.
func (o *ops) unlock() {
	after := o.after
	o.after = nil
	o.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// outstanding returns the head of the lane if it was sent.
func (l *lane) outstanding() *op {
	if l == nil || len(l.queue) == 0 || !l.queue[0].sent {
		return nil
	}
	return l.queue[0]
}

// expectAck counts a write without response. If wait is not nil, the write must not be sent yet: requests for the
// attribute are still queued, or too many such writes are on their way. Then the caller asks again when wait is closed,
// or after limit.
func (o *ops) expectAck(a ble.Address, handle uint16) (wait <-chan struct{}, limit time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return nil, 0, o.err
	}
	l := o.lane(laneKey{a, opGATT, uint32(handle)})
	if n := len(l.queue); n > 0 && !l.queue[n-1].sent {
		return l.queue[n-1].done, requestTimeout, nil
	}
	now := time.Now()
	l.expire(now)
	if len(l.acks) >= maxAcks {
		if l.room == nil {
			l.room = make(chan struct{})
		}
		return l.room, l.acks[0].Sub(now), nil
	}
	l.acks = append(l.acks, now.Add(ackExpiry))
	return nil, 0, nil
}

// giveUp takes r out of its lane, unless it was answered. If r was sent, the lane stays closed for grace. It reports
// whether r was sent and whether it was answered.
func (o *ops) giveUp(r *op, grace time.Duration) (sent, answered bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.answered {
		return r.sent, true
	}
	l := o.lanes[r.key]
	if l == nil {
		return r.sent, false
	}
	i := slices.Index(l.queue, r)
	if i < 0 {
		return r.sent, false
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	if r.then != nil {
		r.answered = true // so that nothing calls r.then
		r.timer.Stop()
	}
	if r.sent {
		l.abandoned, l.late = time.Now().Add(grace), r.want
	}
	o.advance(r.key)
	return r.sent, false
}

// fail ends every request and refuses new ones.
func (o *ops) fail(err error) {
	o.mu.Lock()
	defer o.unlock()
	o.err = err
	for key, l := range o.lanes {
		for _, r := range l.queue {
			o.end(r, err)
		}
		o.drop(key, l)
	}
}

// timeout is the ble.ErrTimeout of a context whose deadline passed.
type timeout struct{}

func (timeout) Error() string   { return ble.ErrTimeout.Error() }
func (timeout) Unwrap() []error { return []error{ble.ErrTimeout, context.DeadlineExceeded} }

// opError is the failure of a request.
func (p *Proxy) opError(what string, a ble.Address, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = timeout{}
	}
	return fmt.Errorf("cannot %s (%v through %s): %w", what, a, p.Name(), err)
}
