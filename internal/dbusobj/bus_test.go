package dbusobj

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// fakeBus is the bus's end of a socket that the test controls.
func fakeBus(t *testing.T) (c *Conn, bus *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: t.TempDir() + "/s", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ch := make(chan *net.UnixConn, 1)
	go func() {
		b, err := l.AcceptUnix()
		if err != nil {
			close(ch)
			return
		}
		buf := make([]byte, 4096)
		for _, answer := range []string{"OK 1234\r\n", "AGREE_UNIX_FD\r\n"} {
			_, _ = b.Read(buf)
			_, _ = b.Write([]byte(answer))
		}
		in := readerOf(t, b)
		in.pos = 0
		var begin [7]byte
		_ = in.read(begin[:], len(begin))
		if _, err := in.next(); err == nil {
			body, _, _ := Marshal("s", func(e *Encoder) { e.String(":1.0") })
			o := &outgoing{typ: dbus.TypeMethodReply, serial: 1, reply: 1, sig: "s"}
			h := o.appendHeader(nil, len(body), 0)
			_, _ = b.Write(append(withSender(h, busName), body...))
		}
		ch <- b
	}()
	c, err = Dial(context.Background(), Config{Address: "unix:path=" + l.Addr().String(), Logger: slog.New(slog.DiscardHandler)})
	bus = <-ch
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); bus.Close() })
	return c, bus
}

// withSender adds what only a bus writes to a header.
func withSender(h []byte, sender string) []byte {
	n := int(h[12])
	h = h[:fixedHeader+n]
	for len(h)%8 != 0 {
		h = append(h, 0)
	}
	h = append(h, fieldSender, 1, 's', 0, byte(len(sender)), 0, 0, 0)
	h = append(append(h, sender...), 0)
	h[12] = byte(len(h) - fixedHeader)
	for len(h)%8 != 0 {
		h = append(h, 0)
	}
	return h
}

// A bus that takes nothing makes the loop wait instead of the memory grow.
func TestBacklogIsBounded(t *testing.T) {
	t.Parallel()
	c, bus := fakeBus(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	big := make([]byte, 1<<20)
	const n = 100
	ran := make(chan int, n)
	for i := range n {
		c.Post(func() {
			c.emit("/", "a.b", "C", "ay", func(e *Encoder) { e.Bytes(big) })
			ran <- i
		})
	}
	for range maxBacklog/len(big) - 1 {
		wait(t, ran)
	}
	select {
	case <-time.After(100 * time.Millisecond):
	case err := <-done:
		t.Fatal(err)
	}
	if got := len(ran); got > 5 {
		t.Errorf("%d further events were handled", got)
	}
	c.out.mu.Lock()
	if c.out.backlog.Load() > int64(maxBacklog+2*len(big)) {
		t.Errorf("%d bytes wait for the bus", c.out.backlog.Load())
	}
	c.out.mu.Unlock()
	// When the bus reads again everything goes on.
	go func() {
		buf := make([]byte, 1<<20)
		for {
			if _, err := bus.Read(buf); err != nil {
				return
			}
		}
	}()
	deadline := time.After(patience)
	for last := -1; last != n-1; {
		select {
		case last = <-ran:
		case <-deadline:
			t.Fatal("the loop does not go on")
		}
	}
	cancel()
	if err := wait(t, done); err != nil {
		t.Error(err)
	}
}

// Run must end though the bus takes nothing.
func TestRunEndsThoughTheBusIsStuck(t *testing.T) {
	t.Parallel()
	c, _ := fakeBus(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	big := make([]byte, 8<<20)
	for range 8 {
		c.Post(func() { c.emit("/", "a.b", "C", "ay", func(e *Encoder) { e.Bytes(big) }) })
	}
	for !c.out.full() {
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := wait(t, done); err == nil {
		t.Error("Run says that everything was written")
	}
}

// What no bus would send ends the connection or is passed over, never the process.
func TestHostileBus(t *testing.T) {
	t.Parallel()
	ok := &outgoing{typ: dbus.TypeMethodCall, serial: 9, path: "/", iface: peerInterface, member: "Ping"}
	for _, tt := range []struct {
		name string
		in   []byte
		ends bool
	}{
		{"nonsense", []byte("HTTP/1.1 200 OK\r\n\r\n"), true},
		{"version", []byte{'l', 1, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, true},
		{"huge fields", []byte{'l', 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255}, true},
		{"huge body", []byte{'l', 1, 0, 1, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0}, true},
		{"no fields", []byte{'l', 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, false},
		{"unknown type", []byte{'l', 9, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, false},
		{"field cut off", []byte{'l', 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 1, 1, 'o', 0, 255, 255, 255, 255}, false},
		{"no sender", ok.appendHeader(nil, 0, 0), false},
		{"body cut short", (&outgoing{typ: dbus.TypeSignal, serial: 9, path: "/", iface: busInterface, member: "NameOwnerChanged", sig: "sss"}).appendHeader(nil, 0, 0), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, bus := fakeBus(t)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			if _, err := bus.Write(tt.in); err != nil {
				t.Fatal(err)
			}
			if tt.ends {
				if err := wait(t, done); err == nil {
					t.Error("Run: nil")
				}
				return
			}
			// It still answers.
			if _, err := bus.Write(withSender(ok.appendHeader(nil, 0, 0), ":1.5")); err != nil {
				t.Fatal(err)
			}
			in := readerOf(t, bus)
			for {
				m, err := in.next()
				if err != nil {
					t.Fatal(err)
				}
				if m.typ == dbus.TypeMethodReply && m.replySerial == 9 {
					break
				}
			}
			cancel()
			if err := wait(t, done); err != nil {
				t.Error(err)
			}
		})
	}
}

// A flood from one client does not grow the queue without bound, and others are served.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.do(func() { s.Add("/o", &thing{}, ifaceMain()) })
	r := newRaw(t, s.addr)
	stop := make(chan struct{})
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		var b []byte
		for range 100 {
			o := call("DropFD", "s")
			o.flags, o.serial = flagNoReply, 1
			body := make([]byte, 4+1000+1)
			body[0], body[1] = 1000&255, 1000>>8
			for i := range 1000 {
				body[4+i] = 'x'
			}
			b = append(o.appendHeader(b, len(body), 0), body...)
		}
		for range 500 { // the bus holds what we have not read yet, so there has to be an end to it
			select {
			case <-stop:
				return
			default:
			}
			if _, err := r.sock.Write(b); err != nil {
				return
			}
		}
	}()
	c := client(t, s.addr)
	for range 20 {
		if err := c.Object(testName, "/o").Call(mainName+".Echo", 0, "x").Err; err != nil {
			t.Fatal(err)
		}
		s.in.mu.Lock()
		if s.in.messages > maxClientMessages+fewMessages || s.in.bytes > maxClientBytes+maxBody {
			t.Errorf("%d messages and %d bytes wait", s.in.messages, s.in.bytes)
		}
		s.in.mu.Unlock()
	}
	close(stop)
	<-flooded
}
