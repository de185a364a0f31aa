package dbusobj

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// wire is one connection to a bus: a socket, what reads from it and what writes to it. It is goroutine-safe.
type wire struct {
	sock  *net.UnixConn
	in    *inbox
	out   *outbox
	asked asks
	name  string        // unique name, once Hello was answered
	dead  chan struct{} // closed at the end of the connection
	once  sync.Once     // guards dead and cause
	cause error         // valid once dead is closed
	ended sync.WaitGroup

	warned time.Time // the reader's: when it last warned of a client that is refused
}

// dialWire connects to a bus and says Hello.
func (c *Conn) dialWire(ctx context.Context, address string) (*wire, error) {
	sock, err := dialAny(ctx, address)
	if err != nil {
		return nil, err
	}
	direct, err := newSocket(sock)
	if err != nil {
		_ = sock.Close()
		return nil, err
	}
	w := &wire{sock: sock, in: c.in, out: newOutbox(direct), dead: make(chan struct{})}
	w.ended.Go(func() { w.read(newReader(direct), c) })
	w.ended.Go(func() {
		if err := w.out.write(sock, w.dead); err != nil {
			w.fail(fmt.Errorf("cannot write to the bus: %w", err))
		}
	})
	body, err := w.ask(ctx, c.nextSerial(), "Hello", "", nil)
	if err == nil {
		var ok bool
		w.name, ok = one[string](body)
		if !ok {
			err = errors.New("cannot say Hello to the bus: bad answer")
		}
	}
	if err != nil {
		w.close(ErrClosed)
		return nil, err
	}
	return w, nil
}

// read hands all messages to the loop, where it helps, and those that it has too much of to refuse.
func (w *wire) read(r *reader, c *Conn) {
	defer r.close()
	for {
		m, err := r.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the bus closed the connection")
			}
			w.fail(fmt.Errorf("cannot read from the bus: %w", err))
			return
		}
		if !w.asked.answer(m) {
			if ok, first := w.in.put(m, w); !ok {
				c.refuse(w, m, first)
			}
		}
		if !r.more() {
			c.help()
		}
	}
}

// fail ends the connection; only the first cause counts.
func (w *wire) fail(err error) {
	w.once.Do(func() {
		w.cause = err
		close(w.dead)
		_ = w.sock.Close()
	})
}

// close ends the connection, drops what is pending and waits for the goroutines.
func (w *wire) close(err error) {
	w.fail(err)
	w.out.close()
	w.ended.Wait()
}

// drain waits until the writer has written everything or the connection is dead.
func (w *wire) drain() error {
	for !w.out.empty() {
		select {
		case <-w.out.room:
		case <-w.dead:
			return w.cause
		}
	}
	return nil
}
