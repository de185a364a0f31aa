package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"time"
)

// stamp is when a read last ended. It is set and asked by the goroutine that reads.
type stamp struct {
	mu sync.Mutex
	at time.Time
}

func (s *stamp) set() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = time.Now()
}

func (s *stamp) last() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// stamped notes when its reads end.
type stamped struct {
	net.Conn
	read *stamp
}

func (c stamped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.set()
	return n, err
}

// writers are the connections with hosts, by the host's address.
type writers struct {
	mu   sync.Mutex
	list map[string]*writer
}

// writer notes when the write of each frame ended.
type writer struct {
	net.Conn
	mu     sync.Mutex
	frames []time.Time
}

func (w *writers) wrap(conn net.Conn) net.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.list == nil {
		w.list = map[string]*writer{}
	}
	out := &writer{Conn: conn}
	w.list[conn.RemoteAddr().String()] = out
	return out
}

// Write implements net.Conn; a session writes whole frames.
func (w *writer) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	at := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for rest := b; len(rest) > 0; rest = rest[min(frameSize(rest), len(rest)):] {
		w.frames = append(w.frames, at)
	}
	return n, err
}

// frameSize is the size of the frame at the beginning of b: a plain one of marker, length, number and payload, or an
// encrypted one of marker, 16-bit length and body.
func frameSize(b []byte) int {
	if b[0] == 1 && len(b) >= 3 {
		return 3 + int(binary.BigEndian.Uint16(b[1:]))
	}
	length, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return len(b)
	}
	_, m := binary.Uvarint(b[1+n:])
	if m <= 0 {
		return len(b)
	}
	return 1 + n + m + int(length)
}

// of gives the times of a host's frames as it counts them. The frames of the handshake, which it does not count, come
// first; the last one is the one that ended its reading.
func (w *writers) of(h *host, s setting) (map[int]time.Time, error) {
	w.mu.Lock()
	wr := w.list[h.conn.LocalAddr().String()]
	w.mu.Unlock()
	if wr == nil {
		return nil, fmt.Errorf("no connection of %s", h.conn.LocalAddr())
	}
	wr.mu.Lock()
	defer wr.mu.Unlock()
	before := 0
	if s.noise {
		before = 2
	}
	if len(wr.frames) != before+h.frames {
		return nil, fmt.Errorf("%d frames were written, the host counts %d behind %d of the handshake", len(wr.frames), h.frames, before)
	}
	out := make(map[int]time.Time, h.frames)
	for i := 1; i <= h.frames; i++ {
		out[i] = wr.frames[before+i-1]
	}
	return out, nil
}
