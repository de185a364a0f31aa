package apiconn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tcpPair is a raw connection and its peer.
func tcpPair(t *testing.T) (net.Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	c := newRawConn(ours)
	if _, ok := c.(*rawConn); !ok {
		t.Fatalf("a TCP connection became %T", c)
	}
	return c, theirs.(*net.TCPConn)
}

func TestRawConnReadsAndWrites(t *testing.T) {
	t.Parallel()
	ours, theirs := tcpPair(t)
	// More than the buffers of both sides hold: the writer has to wait in between.
	sent := bytes.Repeat([]byte("advertisement"), 1<<20)
	go func() {
		_, _ = io.Copy(theirs, theirs)
		_ = theirs.CloseWrite()
	}()
	wrote := make(chan error, 1)
	go func() {
		n, err := ours.Write(sent)
		if err == nil && n != len(sent) {
			err = io.ErrShortWrite
		}
		wrote <- errors.Join(err, ours.(*rawConn).Conn.(*net.TCPConn).CloseWrite())
	}()
	got, err := io.ReadAll(ours)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("read %d bytes, %v; want the %d that were written and io.EOF", len(got), err, len(sent))
	}
	if err := <-wrote; err != nil {
		t.Error("Write:", err)
	}
	if n, err := ours.Read(nil); n != 0 || err != nil {
		t.Errorf("Read(nil) = %d, %v", n, err)
	}
}

func TestRawConnErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		do   func(ours net.Conn, theirs *net.TCPConn)
		want error
	}{
		{"deadline", func(ours net.Conn, _ *net.TCPConn) { _ = ours.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		{"closed", func(ours net.Conn, _ *net.TCPConn) { _ = ours.Close() }, net.ErrClosed},
		{"reset", func(_ net.Conn, theirs *net.TCPConn) { _, _ = theirs.SetLinger(0), theirs.Close() }, syscall.ECONNRESET},
		{"ended", func(_ net.Conn, theirs *net.TCPConn) { _ = theirs.Close() }, io.EOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := tcpPair(t)
			failed := make(chan error, 1)
			go func() {
				_, err := ours.Read(make([]byte, 1))
				failed <- err
			}()
			tc.do(ours, theirs)
			err := <-failed
			if !errors.Is(err, tc.want) || strings.Contains(err.Error(), "raw-") {
				t.Errorf("Read = %v, want %v", err, tc.want)
			}
			if tc.want == io.EOF {
				return
			}
			if op := (*net.OpError)(nil); !errors.As(err, &op) || op.Op != "read" || op.Addr == nil {
				t.Errorf("Read = %#v, want a *net.OpError of read", err)
			}
		})
	}
}

func TestRawConnWriteToReset(t *testing.T) {
	t.Parallel()
	ours, theirs := tcpPair(t)
	_ = theirs.SetLinger(0)
	_ = theirs.Close()
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal("Read:", err)
	}
	if n, err := ours.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write = %d, %v, want EPIPE", n, err)
	}
}

func TestRawConnAllocatesNothing(t *testing.T) {
	ours, theirs := tcpPair(t)
	go func() { _, _ = io.Copy(theirs, theirs) }()
	b := make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ours.Write(b); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(ours, b); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a write and a read, want none", n)
	}
}
