package dbusobj

import (
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"bluez-esphome/internal/lockorder"
)

const (
	chunkSize = 64 << 10
	// maxBacklog is how many bytes may wait for the bus before the loop waits too: what one client asked for is in the way
	// of the others' answers. dbus-daemon takes 2 KiB of ours, and of each client's, in turn.
	maxBacklog = 256 << 10
	// maxRefusals is the same for refusals, which are sent past the loop.
	maxRefusals = 4 << 20
	// stallTime is how long the bus may take nothing at all before the connection counts
	// as dead. bluetoothd would wait for ever; a bus that is so far behind serves nobody.
	stallTime = 60 * time.Second
	// maxFDs is how many file descriptors the system bus lets through in one message.
	maxFDs = 16
)

// chunk is a run of whole messages; fds go with its first byte.
type chunk struct {
	buf []byte
	fds []int
}

// outbox collects messages until the writer takes them, many at a time.
// It is goroutine-safe.
type outbox struct {
	sock socket
	wake chan struct{} // size 1: there is something to write
	room chan struct{} // size 1: the backlog shrank

	backlog atomic.Int64 // bytes not yet written, with those that the writer holds; it changes under mu

	mu      lockorder.Mutex[lockorder.Leaf]
	chunks  []chunk
	spare   [][]byte
	header  []byte // scratch
	fresh   int    // bytes since the last kick
	writing bool   // somebody writes: the writer, or kick
	ending  bool   // the writer ends when it has written everything
	closed  bool   // nothing is accepted any more
}

func newOutbox(sock socket) *outbox {
	return &outbox{sock: sock, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// send appends a message; the file descriptors are closed once they were sent.
// The message leaves when kick is called, or before. A large body is kept, not copied: then it is the outbox's.
func (b *outbox) send(o *outgoing, body []byte, fds []int) (kept bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		closeFDs(fds)
		return false
	}
	b.header = o.appendHeader(b.header[:0], len(body), len(fds))
	kept = len(body) > chunkSize
	n := len(b.header)
	if !kept {
		n += len(body)
	}
	last := len(b.chunks) - 1
	if last < 0 || len(fds) > 0 || len(b.chunks[last].buf)+n > chunkSize {
		var buf []byte
		if k := len(b.spare) - 1; k >= 0 && n <= chunkSize {
			buf, b.spare = b.spare[k], b.spare[:k]
		}
		b.chunks = append(b.chunks, chunk{buf: buf, fds: fds})
		last++
	}
	c := &b.chunks[last]
	c.buf = append(withRoom(c.buf, n), b.header...)
	if kept {
		b.chunks = append(b.chunks, chunk{buf: body})
		n += len(body)
	} else {
		c.buf = append(c.buf, body...)
	}
	b.backlog.Add(int64(n))
	b.fresh += n
	if b.fresh >= chunkSize/2 {
		b.fresh = 0
		signal(b.wake)
	}
	return kept
}

// firstRoom is the size of a buffer for few and small messages.
const firstRoom = 4 << 10

// withRoom gives buf with room for n bytes more. It grows by a factor of four and ends at chunkSize, where append would
// grow past that: what is larger is not kept, and so would be allocated anew for each chunk of a burst.
func withRoom(buf []byte, n int) []byte {
	need := len(buf) + n
	if need <= cap(buf) {
		return buf
	}
	size := firstRoom
	for size < min(need, chunkSize) {
		size *= 4
	}
	return append(make([]byte, 0, max(size, need)), buf...)
}

// kick writes what there is, if that is little and the socket takes it at once; else the writer is woken.
func (b *outbox) kick() {
	b.mu.Lock()
	if b.fresh == 0 {
		b.mu.Unlock()
		return
	}
	b.fresh = 0
	if b.writing || len(b.chunks) != 1 || len(b.chunks[0].fds) > 0 || len(b.chunks[0].buf) > chunkSize {
		signal(b.wake)
		b.mu.Unlock()
		return
	}
	buf := b.chunks[0].buf
	b.chunks, b.writing = b.chunks[:0], true
	b.mu.Unlock()
	n := b.sock.write(buf)
	b.mu.Lock()
	b.writing = false
	switch {
	case b.closed:
	case n < len(buf):
		b.backlog.Add(-int64(n))
		b.chunks = slices.Insert(b.chunks, 0, chunk{buf: buf[:copy(buf, buf[n:])]}) // all of buf is kept for later
	default:
		b.doneLocked(buf)
	}
	if len(b.chunks) > 0 || b.ending {
		signal(b.wake)
	}
	b.mu.Unlock()
}

func (b *outbox) full() bool { return b.holds(maxBacklog) }

// holds says whether more than n bytes wait.
func (b *outbox) holds(n int64) bool { return b.backlog.Load() > n }

// end lets the writer finish.
func (b *outbox) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ending = true
	signal(b.wake)
}

// close drops everything.
func (b *outbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, c := range b.chunks {
		closeFDs(c.fds)
	}
	b.chunks, b.spare = nil, nil
	b.backlog.Store(0)
	signal(b.room)
}

// signal leaves a token in a channel of size 1.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// write is the writer: it ends at an error, when dead is closed, or after end.
func (b *outbox) write(sock *net.UnixConn, dead <-chan struct{}) error {
	var todo []chunk
	mine := false // it is the writer that writes
	for {
		b.mu.Lock()
		busy := b.writing && !mine
		if !busy {
			todo, b.chunks = b.chunks, todo[:0]
			mine = len(todo) > 0
			b.writing = mine
		}
		ending := b.ending && !busy
		b.mu.Unlock()
		if !mine {
			if ending {
				return nil
			}
			select {
			case <-b.wake:
			case <-dead:
				return nil
			}
			continue
		}
		for i := range todo {
			err := todo[i].write(sock)
			if err != nil {
				for _, c := range todo[i+1:] {
					closeFDs(c.fds)
				}
				return err
			}
			b.done(todo[i].buf)
			todo[i] = chunk{}
		}
	}
}

func (b *outbox) done(buf []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doneLocked(buf)
}

func (b *outbox) doneLocked(buf []byte) {
	b.backlog.Add(-int64(len(buf)))
	if cap(buf) <= chunkSize && len(b.spare) < 16 {
		b.spare = append(b.spare, buf[:0])
	}
	signal(b.room)
}

func (c *chunk) write(sock *net.UnixConn) error {
	buf := c.buf
	if len(c.fds) > 0 {
		defer closeFDs(c.fds)
		if err := sock.SetWriteDeadline(time.Now().Add(stallTime)); err != nil {
			return err
		}
		n, _, err := sock.WriteMsgUnix(buf, syscall.UnixRights(c.fds...), nil)
		if err != nil {
			return err
		}
		buf = buf[n:]
	}
	for len(buf) > 0 {
		if err := sock.SetWriteDeadline(time.Now().Add(stallTime)); err != nil {
			return err
		}
		n, err := sock.Write(buf[:min(len(buf), 4*chunkSize)])
		if err != nil {
			return err
		}
		buf = buf[n:]
	}
	return nil
}

// empty says whether everything was written.
func (b *outbox) empty() bool { return b.backlog.Load() == 0 }
