package apiconn

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"bluez-esphome/internal/rawsock"
)

// A rawConn reads and writes a TCP connection through package rawsock: its reads do not wake a thread.
//
// Read may be called by one goroutine at a time, and so may Write.
type rawConn struct {
	net.Conn // deadlines and Close work as usual
	raw      syscall.RawConn
	in, out  rawCall
}

// A rawCall is a system call under way. Its function try is called whenever the socket is ready.
type rawCall struct {
	try func(fd uintptr) (done bool)
	b   []byte
	n   int
	err error
}

// newRawConn returns conn itself if it is no TCP connection.
func newRawConn(conn net.Conn) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return conn
	}
	c := &rawConn{Conn: tcp, raw: raw}
	c.in.try, c.out.try = c.tryRead, c.tryWrite // once: a closure for each call would be allocated
	return c
}

// Read implements net.Conn.
func (c *rawConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return c.in.run(b, c.raw.Read)
}

// Write implements net.Conn.
func (c *rawConn) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return c.out.run(b, c.raw.Write)
}

// writeNow writes as much of b as the socket takes without waiting. It may be called while nobody writes. It reports no
// errors: the next Write will.
func (c *rawConn) writeNow(b []byte) int { return rawsock.WriteNow(c.raw, b) }

func (r *rawCall) run(b []byte, wait func(func(uintptr) bool) error) (int, error) {
	r.b, r.n, r.err = b, 0, nil
	err := wait(r.try)
	r.b = nil // the caller's
	if err == nil {
		return r.n, r.err
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		op.Op = strings.TrimPrefix(op.Op, "raw-")
	}
	return r.n, err
}

func (c *rawConn) tryRead(fd uintptr) bool {
	r := &c.in
	n, errno := rawsock.Read(fd, r.b)
	switch {
	case errno == syscall.EAGAIN:
		return false
	case errno != 0:
		r.err = c.failed("read", errno)
	case n == 0:
		r.err = io.EOF
	}
	r.n = n
	return true
}

// tryWrite goes on until everything is written.
func (c *rawConn) tryWrite(fd uintptr) bool {
	w := &c.out
	for w.n < len(w.b) {
		n, errno := rawsock.Write(fd, w.b[w.n:])
		switch {
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			w.err = c.failed("write", errno)
			return true
		}
		w.n += n
	}
	return true
}

func (c *rawConn) failed(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
}
