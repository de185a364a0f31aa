package dbusobj

import (
	"io"
	"net"
	"os"
	"syscall"

	"bluez-esphome/internal/rawsock"

	"golang.org/x/sys/unix"
)

// socket reads and writes the bus's socket through package rawsock: its calls do not wake a thread.
type socket struct{ raw syscall.RawConn }

func newSocket(sock *net.UnixConn) (socket, error) {
	raw, err := sock.SyscallConn()
	return socket{raw}, err
}

// receiver is a recvmsg under way.
type receiver struct {
	socket
	msg   unix.Msghdr
	iov   unix.Iovec
	n     int
	errno syscall.Errno
	call  func(fd uintptr) bool // try: a closure for each call would be allocated
}

func newReceiver(s socket) *receiver {
	r := &receiver{socket: s}
	r.call = r.try
	return r
}

// receive waits for bytes. It gives how many are in buf and in oob, which is for file descriptors, and msg_flags.
// Neither slice may be empty.
func (r *receiver) receive(buf, oob []byte) (n, oobn, flags int, err error) {
	r.iov.Base = &buf[0]
	r.iov.SetLen(len(buf))
	r.msg = unix.Msghdr{Iov: &r.iov, Control: &oob[0]}
	r.msg.SetIovlen(1)
	r.msg.SetControllen(len(oob))
	if err := r.raw.Read(r.call); err != nil {
		return 0, 0, 0, err
	}
	if r.errno != 0 {
		return 0, 0, 0, os.NewSyscallError("recvmsg", r.errno)
	}
	if r.n == 0 {
		return 0, int(r.msg.Controllen), int(r.msg.Flags), io.EOF
	}
	return r.n, int(r.msg.Controllen), int(r.msg.Flags), nil
}

// try reports whether the call came to an end.
func (r *receiver) try(fd uintptr) bool {
	r.n, r.errno = rawsock.Recvmsg(fd, &r.msg, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	return r.errno != unix.EAGAIN
}

// write writes as much of buf as the socket takes without waiting. What is wrong with it a write that waits will tell.
func (s socket) write(buf []byte) int { return rawsock.WriteNow(s.raw, buf) }
