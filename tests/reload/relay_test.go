package reload

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// relay passes connections on to a proxy and counts them, so that a session that was replaced cannot go unnoticed.
type relay struct {
	address        string
	opened, closed atomic.Int32
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{address: ln.Addr().String()}
	var wg sync.WaitGroup
	t.Cleanup(func() { // before the processes at both ends are stopped, or after: both end it
		_ = ln.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			r.opened.Add(1)
			wg.Go(func() {
				defer r.closed.Add(1)
				far, err := net.Dial("tcp", target)
				if err != nil {
					_ = near.Close()
					return
				}
				var both sync.WaitGroup
				pass := func(to, from net.Conn) {
					_, _ = io.Copy(to, from)
					_, _ = to.Close(), from.Close()
				}
				both.Go(func() { pass(near, far) })
				both.Go(func() { pass(far, near) })
				both.Wait()
			})
		}
	})
	return r
}
