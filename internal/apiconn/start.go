package apiconn

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lapse"
)

// Begin is Do for a caller that does not wait, see StartRead. It reports false for what cannot be begun so.
func (p *Proxy) Begin(a ble.Address, op ble.Operation, done func([]byte, error)) (cancel func(), ok bool) {
	switch op.Kind {
	case ble.OpRead:
		return p.StartRead(a, op.Handle, done)
	case ble.OpWrite:
		return p.StartWrite(a, op.Handle, op.Value, func(err error) { done(nil, err) })
	}
	return nil, false
}

// StartRead is Read for a caller that does not wait: done is called once, without locks, by the goroutine that brings
// the answer, perhaps before StartRead returns. It reports false, and done is not called, where the request cannot be
// sent at once: then Read is to be used. cancel gives the request up, like the end of Read's context; done is not
// called then, unless it was already.
func (p *Proxy) StartRead(a ble.Address, handle uint16, done func([]byte, error)) (cancel func(), ok bool) {
	r := &op{key: laneKey{a, opGATT, uint32(handle)}, want: apiwire.BluetoothGATTReadResponse}
	r.then = func() {
		if r.err != nil {
			done(nil, p.opError(fmt.Sprintf("read handle %#04x", handle), a, r.err))
			return
		}
		done(r.result(nil))
	}
	return p.start(r, &apipb.BluetoothGATTReadRequest{Address: uint64(a), Handle: uint32(handle)})
}

// StartWrite is to Write, with response, what StartRead is to Read.
func (p *Proxy) StartWrite(a ble.Address, handle uint16, value []byte, done func(error)) (cancel func(), ok bool) {
	r := &op{key: laneKey{a, opGATT, uint32(handle)}, want: apiwire.BluetoothGATTWriteResponse}
	r.then = func() {
		err := r.err
		if err != nil {
			err = p.opError(fmt.Sprintf("write handle %#04x", handle), a, err)
		}
		done(err)
	}
	return p.start(r, &apipb.BluetoothGATTWriteRequest{Address: uint64(a), Handle: uint32(handle), Response: true, Data: value})
}

func (p *Proxy) start(r *op, request proto.Message) (cancel func(), ok bool) {
	s := p.session()
	if s == nil || !s.ops.enterNow(r, requestTimeout) {
		return nil, false
	}
	if !s.w.sendNow(request) {
		_, answered := s.ops.giveUp(r, 0)
		return func() {}, answered // by the end of the session
	}
	return func() { s.ops.giveUp(r, abandonedGrace) }, true
}

// enterNow is enter for a request that has a then, unless it would have to wait.
func (o *ops) enterNow(r *op, limit time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return false
	}
	l := o.lane(r.key)
	l.expire(time.Now())
	if len(l.queue) > 0 || len(l.acks) > 0 || !l.abandoned.IsZero() {
		return false
	}
	r.sent = true
	due := time.Now().Add(limit)
	r.timer = time.AfterFunc(limit, func() {
		if o.postponed(r, &due) {
			return
		}
		if _, answered := o.giveUp(r, abandonedGrace); !answered {
			r.err = context.DeadlineExceeded
			r.then()
		}
	})
	l.queue = append(l.queue, r)
	return true
}

// postponed sets the timer of r again if the process was stopped when it was due, since the answer may be there but
// unread.
func (o *ops) postponed(r *op, due *time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	late := !r.answered && lapse.Late(*due, now)
	if late {
		*due = now.Add(lapse.Grace)
		r.timer.Reset(lapse.Grace)
	}
	return late
}

// sendNow queues messages and writes them in the caller's goroutine, as far as the connection takes them at once; the
// writer does the rest. It reports false if the queue is full.
func (w *writer) sendNow(messages ...proto.Message) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || len(w.buf) >= maxQueued {
		return false
	}
	idle := w.try != nil && !w.writing && len(w.buf) == 0
	for _, m := range messages {
		var err error
		w.buf, err = w.f.AppendMessage(w.buf, m)
		if err != nil {
			return false
		}
	}
	if idle { // writing under the lock is fine: it does not wait
		w.buf = w.buf[:copy(w.buf, w.buf[w.try(w.buf):])]
	}
	if len(w.buf) > 0 {
		w.signal()
	}
	return true
}
