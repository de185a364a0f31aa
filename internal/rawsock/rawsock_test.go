package rawsock

import (
	"bytes"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pair is two ends of a stream that do not block.
func pair(t *testing.T) (ours syscall.RawConn, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "socket")
	t.Cleanup(func() { _ = f.Close() })
	ours, err = f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return ours, fds[1]
}

// TestWriteNow: what the socket does not take is left, and what it took arrives.
func TestWriteNow(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	b := make([]byte, 4096)
	if n := WriteNow(ours, []byte("little")); n != 6 {
		t.Errorf("%d of 6 bytes were taken", n)
	}
	if n, errno := Read(uintptr(theirs), b); string(b[:n]) != "little" || errno != 0 {
		t.Errorf("%q arrived, %v", b[:n], errno)
	}
	sent := bytes.Repeat([]byte("advertisement"), 1<<17)
	n := WriteNow(ours, sent)
	if n == 0 || n == len(sent) {
		t.Fatalf("%d of %d bytes were taken", n, len(sent))
	}
	var got []byte
	for {
		k, errno := Read(uintptr(theirs), b)
		if errno == unix.EAGAIN {
			break
		}
		if errno != 0 || k == 0 {
			t.Fatal(k, errno)
		}
		got = append(got, b[:k]...)
	}
	if !bytes.Equal(got, sent[:n]) {
		t.Errorf("%d bytes arrived, %d were taken, or they differ", len(got), n)
	}
	if err := unix.Close(theirs); err != nil {
		t.Fatal(err)
	}
	if n := WriteNow(ours, sent); n != 0 {
		t.Errorf("%d bytes were taken by nobody", n)
	}
}

// TestErrors: the kernel's error comes as it is, and the end is 0 without one.
func TestErrors(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	b := make([]byte, 8)
	var msg unix.Msghdr
	if err := unix.Close(theirs); err != nil {
		t.Fatal(err)
	}
	err := ours.Control(func(fd uintptr) {
		if n, errno := Read(fd, b); n != 0 || errno != 0 {
			t.Errorf("Read at the end: %d, %v", n, errno)
		}
		if n, errno := Write(fd, b); n != 0 || errno != unix.EPIPE {
			t.Errorf("Write to nobody: %d, %v", n, errno)
		}
		if n, errno := Recvmsg(fd, &msg, unix.MSG_DONTWAIT); n != 0 || errno != 0 {
			t.Errorf("Recvmsg at the end: %d, %v", n, errno)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	const nowhere = 1 << 20
	if _, errno := Read(nowhere, b); errno != unix.EBADF {
		t.Errorf("Read of no descriptor: %v", errno)
	}
}
