package dbusobj

import (
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/godbus/dbus/v5"
)

// outboxPair is an outbox and the other end of its socket, which nobody reads.
func outboxPair(t *testing.T) (*outbox, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "bus")
	conn, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); _ = syscall.Close(fds[1]) })
	sock, err := newSocket(conn.(*net.UnixConn))
	if err != nil {
		t.Fatal(err)
	}
	return newOutbox(sock), fds[1]
}

// writeAllocs is how often a write allocates, without its buffer.
const writeAllocs = 3

// TestBurstsKeepTheirMemory: a burst of signals, as large as goes out with one write, finds the memory of the last one;
// also after a write that the bus took a part of.
func TestBurstsAllocateNothing(t *testing.T) {
	b, bus := outboxPair(t)
	signal := &outgoing{typ: dbus.TypeSignal, path: "/org/bluez/hci0", iface: propertiesName, member: "PropertiesChanged", sig: "sa{sv}as"}
	body := make([]byte, 400)
	var size, n int
	burst := func(bytes int) {
		for size = 0; size < bytes; size += n {
			before := b.backlog.Load()
			b.send(signal, body, nil)
			n = int(b.backlog.Load() - before)
		}
		b.kick()
	}
	read := make([]byte, chunkSize)
	drain := func() {
		for {
			if _, err := syscall.Read(bus, read); err != nil {
				return
			}
		}
	}
	whole := func() {
		burst(chunkSize - 4*len(body))
		drain()
	}
	whole()
	if got := testing.AllocsPerRun(20, whole); got > writeAllocs {
		t.Errorf("%v allocations a burst", got)
	}
	for range 3 { // the bus is behind, so that a write takes a part of what there is
		for range 64 {
			if burst(4 << 10); !b.empty() {
				break
			}
		}
		if b.empty() {
			t.Fatal("the bus took everything")
		}
		drain()
		b.fresh = 1
		b.kick()
		drain()
	}
	if got := testing.AllocsPerRun(20, whole); got > writeAllocs {
		t.Errorf("%v allocations a burst after writes that were taken in part", got)
	}
}
