package harness

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

var ports atomic.Int32 // ports that FreePort has returned

// FreePort finds a TCP port that is free, as are the seven after it. It is outside of the range from which the kernel
// takes ports for clients, which might take it before the test listens there.
func FreePort(t testing.TB) int {
	t.Helper()
	const first, last, each = 16000, 32000, 8
next:
	for range (last - first) / each {
		port := first + (os.Getpid()*256+int(ports.Add(1))*each)%(last-first)
		for i := range each {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i))
			if err != nil {
				continue next
			}
			_ = l.Close()
		}
		return port
	}
	t.Fatal("no port is free")
	return 0
}
