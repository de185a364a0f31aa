package harness

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

var ports atomic.Int32 // that FreePort gave out

// FreePort finds a TCP port that is free, as are the seven above it. It is none that the kernel gives to clients: one
// of those may be taken again by the time that somebody listens.
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
