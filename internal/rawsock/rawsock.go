// Package rawsock reads and writes sockets that do not block without telling Go's scheduler of each system call. Such a
// socket gives it nothing to be told of; but in a process that was idle the first call that is told of wakes another
// thread (the runtime's sysmon), and that costs more than handling a message or a frame of advertisements.
//
// The descriptors are those that a syscall.RawConn hands to its callbacks, which it keeps open meanwhile. A signal that
// interrupts a call is no error: the call is repeated.
package rawsock

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read is read(2). b must not be empty.
func Read(fd uintptr, b []byte) (int, syscall.Errno) {
	return retry(unix.SYS_READ, fd, unsafe.Pointer(&b[0]), uintptr(len(b)))
}

// Write is write(2). b must not be empty. The runtime ignores SIGPIPE of sockets.
func Write(fd uintptr, b []byte) (int, syscall.Errno) {
	return retry(unix.SYS_WRITE, fd, unsafe.Pointer(&b[0]), uintptr(len(b)))
}

// Recvmsg is recvmsg(2).
func Recvmsg(fd uintptr, msg *unix.Msghdr, flags int) (int, syscall.Errno) {
	return retry(unix.SYS_RECVMSG, fd, unsafe.Pointer(msg), uintptr(flags))
}

// WriteNow writes as much of b as the socket takes without waiting. What is wrong with the socket a write that waits
// will tell.
func WriteNow(conn syscall.RawConn, b []byte) (n int) {
	_ = conn.Control(func(fd uintptr) {
		for n < len(b) {
			k, errno := Write(fd, b[n:])
			if errno != 0 {
				return
			}
			n += k
		}
	})
	return n
}

// retry makes a call whose second argument is a pointer until no signal interrupts it.
func retry(trap, fd uintptr, p unsafe.Pointer, last uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall(trap, fd, uintptr(p), last)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
