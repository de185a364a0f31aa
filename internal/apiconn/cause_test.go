package apiconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestCause: what an administrator reads of a failed connection has no words of Go's, and each cause once.
func TestCause(t *testing.T) {
	refused := func(ip string) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: 6053}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{refused("10.0.0.9"), "connection refused"},
		{errors.Join(refused("10.0.0.9"), refused("10.0.0.8"), os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "connection refused, no route to host"},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, "no answer in time"},
		{fmt.Errorf("dial: %w", context.DeadlineExceeded), "no answer in time"},
		{&net.DNSError{Err: "no such host", Name: "nosuch.example", Server: "10.255.255.53:53"}, "no such host"},
		{errors.New("no usable address"), "no usable address"},
		{errors.Join(&net.DNSError{Err: "no such host"}, errors.New("nobody answers"), &net.DNSError{Err: "no such host"}), "no such host, nobody answers"},
	} {
		if got := cause(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
	for _, err := range []error{&DialError{Target: "10.0.0.9:6053", Err: refused("10.0.0.9")}, &ResolveError{Host: "a.local", Err: &net.DNSError{Err: "no such host", Name: "a.local"}}} {
		if s := err.Error(); strings.Count(s, "10.0.0.9")+strings.Count(s, "a.local") != 1 || strings.Contains(s, "dial tcp") || strings.Contains(s, "lookup") {
			t.Errorf("%s", s)
		}
	}
}
