package stream

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"bluez-esphome/internal/lockorder"
)

// wire is the connection to a broker as paho takes it. It is a sync.Locker, which paho holds for each packet that it writes: what
// is written under it goes to the socket together, when it is let go.
type wire struct {
	net.Conn
	turn   chan struct{} // capacity 1: who put something in may write; no mutex, as it is held while the broker is waited for
	out    []byte        // of who has the turn, as corked
	corked bool          // unlocking writes only what is much

	mu      lockorder.Mutex[lockorder.Leaf]
	err     error // that writing ended with
	hurried bool  // there is a last deadline

	in    inspector
	first []byte // that the broker sent, up to oldConnack bytes; under mu, as why
	why   error  // reading ended first with that
}

// oldConnack is how long the CONNACK of MQTT 3.1.1 is (3.1.1, 3.2): that of MQTT 5 is longer.
const oldConnack = 4

// old reports whether the broker answered CONNECT as one of MQTT 3.1.1.
func (w *wire) old() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.first) == oldConnack && w.first[0] == 0x20 && w.first[1] == 2
}

var _ sync.Locker = (*wire)(nil)

func newWire(c net.Conn) *wire { return &wire{Conn: c, turn: make(chan struct{}, 1)} }

const (
	// stallTimeout is how long a broker may take nothing before it is given up.
	stallTimeout = 30 * time.Second
	// writeAt is how many bytes are gathered before they are written.
	writeAt = 64 << 10
)

// Lock takes the right to write one packet or more.
func (w *wire) Lock() { w.turn <- struct{}{} }

// Unlock writes what was gathered and lets go.
func (w *wire) Unlock() {
	if !w.corked || len(w.out) >= writeAt {
		w.flush()
	}
	<-w.turn
}

// flush writes what was gathered, for who has the turn. Where that fails, the connection is closed.
func (w *wire) flush() {
	if len(w.out) == 0 {
		return
	}
	w.mu.Lock()
	err := w.err
	if !w.hurried {
		_ = w.SetWriteDeadline(time.Now().Add(stallTimeout))
	}
	w.mu.Unlock()
	if err == nil {
		if _, err = w.Conn.Write(w.out); err != nil {
			w.mu.Lock()
			w.err = err
			w.mu.Unlock()
			_ = w.Close()
		}
	}
	w.out = w.out[:0]
	if cap(w.out) > 4*writeAt {
		w.out = nil
	}
}

// Write gathers bytes of a packet, for who has the turn.
func (w *wire) Write(p []byte) (int, error) {
	if err := w.failure(); err != nil {
		return 0, err
	}
	w.out = append(w.out, p...)
	return len(p), nil
}

// failure is what writing ended with, nil while it goes on.
func (w *wire) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// hurry bounds all writing that is still to come.
func (w *wire) hurry(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hurried = true
	_ = w.SetWriteDeadline(time.Now().Add(d))
}

// cork has packets gathered until uncork, which writes them.
func (w *wire) cork() {
	w.Lock()
	w.corked = true
	w.Unlock()
}

func (w *wire) uncork() {
	w.Lock()
	w.corked = false
	w.Unlock()
}

// Read implements net.Conn. It ends where a packet is longer than a broker has reason to send to a client that
// subscribes to nothing: paho would take up to 256 MiB.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.begin(p[:n], err)
	if tooLong := w.in.pass(p[:n]); tooLong != nil {
		return 0, tooLong
	}
	return n, err
}

// cause is what reading or writing ended with first, else err: what follows from that end is not it.
func (w *wire) cause(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.why != nil && !errors.Is(w.why, net.ErrClosed):
		return w.why
	case w.err != nil:
		return w.err
	}
	return err
}

// begin keeps the first bytes and the first error.
func (w *wire) begin(p []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why == nil {
		w.why = err
	}
	w.first = append(w.first, p[:min(len(p), oldConnack-len(w.first))]...)
}

// maxInbound is how long a packet of the broker may be.
const maxInbound = 64 << 10

// inspector follows the boundaries of MQTT packets: a byte with the type, one to four with the length of the rest, least
// significant 7 bits first (MQTT 5, 2.1.4).
type inspector struct {
	left  int // bytes of the present packet's rest
	state int // 0: a type is next; 1…4: so many bytes of the length are still allowed
	value int
}

func (i *inspector) pass(p []byte) error {
	for len(p) > 0 {
		switch {
		case i.left > 0:
			n := min(i.left, len(p))
			i.left -= n
			p = p[n:]
			continue
		case i.state == 0:
			i.state, i.value = 4, 0
		default:
			i.value |= int(p[0]&0x7f) << (7 * (4 - i.state))
			i.state--
			if p[0]&0x80 == 0 {
				if i.value > maxInbound {
					return fmt.Errorf("the broker sends a packet of %d bytes to a client that subscribes to nothing", i.value)
				}
				i.left, i.state = i.value, 0
			} else if i.state == 0 {
				return errors.New("the broker sends what is not MQTT")
			}
		}
		p = p[1:]
	}
	return nil
}

// appendPublish writes a PUBLISH of QoS 0 without properties (MQTT 5, 3.3).
func appendPublish(out, topic, payload []byte, retain bool) []byte {
	first := byte(0x30)
	if retain {
		first |= 1
	}
	out = append(out, first)
	n := 2 + len(topic) + 1 + len(payload)
	for ; n > 0x7f; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	out = append(out, byte(n), byte(len(topic)>>8), byte(len(topic)))
	out = append(out, topic...)
	out = append(out, 0)
	return append(out, payload...)
}
