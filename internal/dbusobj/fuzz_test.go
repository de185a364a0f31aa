package dbusobj

import (
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// socketPair is two connected sockets.
func socketPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "")
		c, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// FuzzReader sends the reader of messages a stream, cut where cuts says, with file descriptors at each
// cut: nothing panics, and every descriptor is closed or in a message, once.
func FuzzReader(f *testing.F) {
	o := outgoing{typ: dbus.TypeMethodCall, serial: 7, dest: "a.b", path: "/x", iface: "c.d", member: "E", sig: "h"}
	one := append(o.appendHeader(nil, 4, 1), 0, 0, 0, 0)
	f.Add(one, []byte{1})
	f.Add(append(append(append([]byte{}, one...), one...), one...), []byte{3, 20, 200, 1})
	f.Add(append([]byte("l\x04\x00\x01\x00\x00\x80\x00\x01\x00\x00\x00\x08\x00\x00\x00"), one...), []byte{5})
	f.Add(append([]byte("l\x04\x00\x01\x00\x00\x00\x08\x01\x00\x00\x00\xff\xff\xff\xff"), one...), []byte{5})
	o.path = longPath(2 * maxFields)
	f.Add(append(append(o.appendHeader(nil, 4, 1), 0, 0, 0, 0), one...), []byte{1, 100, 255})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		if len(stream) > 128<<10 || len(cuts) > 16 {
			return
		}
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		near, far := socketPair(t)
		before := countFDs(t) - 2 // not counted before the runtime has what it needs for sockets
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			defer far.Close()
			for i, cut := range cuts {
				k := min(int(cut)+1, len(stream))
				if k == 0 {
					return
				}
				fds := make([]int, i%4)
				for j := range fds {
					fds[j] = int(null.Fd())
				}
				if _, _, err := far.WriteMsgUnix(stream[:k], syscall.UnixRights(fds...), nil); err != nil {
					return
				}
				stream = stream[k:]
			}
			_, _ = far.Write(stream) // the reader may have had enough
		}()
		r := readerOf(t, near)
		owner := map[int]int{}
		for n := 0; ; n++ {
			m, err := r.next()
			if err != nil {
				break
			}
			defer m.close()
			if len(m.fds) > int(m.nfds) {
				t.Fatalf("%d descriptors in a message that has %d", len(m.fds), m.nfds)
			}
			for _, fd := range m.fds {
				if other, ok := owner[fd]; ok {
					t.Fatalf("descriptor %d is in messages %d and %d", fd, other, n)
				}
				owner[fd] = n
			}
			_, _ = m.decode()
		}
		_ = near.Close()
		<-sent
		r.close()
		waitFDs(t, before+len(owner))
	})
}

// waitFDs waits until so many descriptors are open: others are about to close theirs.
func waitFDs(t testing.TB, want int) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		got := countFDs(t)
		if got == want {
			return
		}
		select {
		case <-timeout.C:
			t.Fatalf("%d descriptors are open, not %d", got, want)
		case <-time.After(time.Millisecond):
		}
	}
}
