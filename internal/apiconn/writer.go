package apiconn

import (
	"context"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"

	"bluez-esphome/internal/lockorder"
)

// maxQueued bounds the bytes that wait to be written. A caller waits while there are more; our own answers (post) may
// exceed it by as much again.
const maxQueued = 128 << 10

// writer collects frames and writes all that have gathered in one write.
type writer struct {
	wake chan struct{} // capacity 1: there is something to write

	mu  lockorder.Mutex[lockorder.Writer] // guards the following, and keeps encryption in the order of the messages
	f   *apiwire.Framer
	buf []byte
	try func([]byte) int // writes what the connection takes without waiting, and says how much; nil if it cannot
	// writing is set while run holds what it took of buf: nobody else may write then.
	writing bool
	spare   []byte        // the buffer written last; never the one being written
	space   chan struct{} // closed when buf was taken
	err     error
}

func newWriter(f *apiwire.Framer) *writer {
	return &writer{f: f, wake: make(chan struct{}, 1), space: make(chan struct{})}
}

// send queues messages to go out together; with a full queue it waits.
func (w *writer) send(ctx context.Context, messages ...proto.Message) error {
	for {
		space, err := w.append(maxQueued, messages)
		if space == nil {
			return err
		}
		select {
		case <-space:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// post queues messages without waiting; it reports false if they were dropped
// because the peer has not read for long.
func (w *writer) post(messages ...proto.Message) bool {
	space, err := w.append(2*maxQueued, messages)
	return space == nil && err == nil
}

// append queues messages. If the queue is full, it returns a channel that is closed when there is room.
func (w *writer) append(limit int, messages []proto.Message) (<-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	if len(w.buf) >= limit {
		return w.space, nil
	}
	for _, m := range messages {
		var err error
		w.buf, err = w.f.AppendMessage(w.buf, m)
		if err != nil {
			return nil, err
		}
	}
	w.signal()
	return nil, nil
}

func (w *writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// fail ends the queue: every message that waits or comes later fails with err.
func (w *writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		close(w.space)
	}
}

// A deadlineWriter is the part of a connection that the writer needs.
type deadlineWriter interface {
	io.Writer
	SetWriteDeadline(t time.Time) error
}

// run writes until done is closed or a write fails.
func (w *writer) run(conn deadlineWriter, done <-chan struct{}, stuck time.Duration) error {
	for {
		select {
		case <-done:
			return nil
		case <-w.wake:
		}
		w.mu.Lock()
		if w.err != nil {
			w.mu.Unlock()
			return nil
		}
		out := w.buf
		w.buf, w.spare = w.spare[:0], nil
		w.writing = len(out) > 0
		close(w.space)
		w.space = make(chan struct{})
		w.mu.Unlock()
		if len(out) == 0 {
			continue
		}
		_ = conn.SetWriteDeadline(time.Now().Add(stuck)) // a connection without deadlines fails by silence
		if _, err := conn.Write(out); err != nil {
			return err
		}
		w.mu.Lock()
		w.spare, w.writing = out[:0], false
		w.mu.Unlock()
	}
}
