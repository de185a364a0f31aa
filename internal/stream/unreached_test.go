package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
)

// TestUnreached: what an administrator reads of a broker that is not reached has no words of Go's.
func TestUnreached(t *testing.T) {
	t.Parallel()
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1883}
	for _, c := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "connection refused"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "brokr.lan", Server: "10.0.0.1:53"}}, "cannot resolve brokr.lan: no such host"},
		{&net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: os.ErrDeadlineExceeded}, "no answer in time"},
		{fmt.Errorf("dial: %w", context.DeadlineExceeded), "no answer in time"},
		{errors.New("something else"), "something else"},
	} {
		if got := unreached(c.err).Error(); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}
