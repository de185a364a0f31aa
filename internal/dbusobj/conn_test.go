package dbusobj

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"bluez-esphome/internal/dbusobj/dbustest"
)

// wait receives from ch or fails.
func wait[T any](t testing.TB, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happened")
	}
	return v
}

type answer struct {
	body []any
	err  error
}

func TestCall(t *testing.T) {
	t.Parallel()
	s := serve(t)
	addr := s.addr
	c2, log := dial(t, addr)
	p := run(t, addr, c2, log)
	p.do(func() { p.Add("/o", &thing{}, ifaceMain()) })
	ch := make(chan answer, 1)
	done := func(body []any, err error) { ch <- answer{slices.Clone(body), err} }
	str := func(e *Encoder) { e.String("hi") }
	for _, tt := range []struct {
		name string
		call func()
		ok   func(a answer) bool
	}{
		{"reply", func() { s.Call(p.name, "/o", mainName, "Echo", "s", str, time.Minute, done) },
			func(a answer) bool { return a.err == nil && a.body[0] == "hi" }},
		{"error", func() { s.Call(p.name, "/o", mainName, "Fail", "", nil, 0, done) },
			func(a answer) bool {
				var e dbus.Error
				return errors.As(a.err, &e) && e.Name == "org.example.Error.Sad" && e.Body[0] == "so sad\uFFFD"
			}},
		{"time-out", func() { s.Call(p.name, "/o", mainName, "Hold", "", nil, time.Millisecond, done) },
			func(a answer) bool {
				var e *TimeoutError
				return errors.As(a.err, &e) && e.Timeout() && e.Member == "Hold" && e.Dest == p.name
			}},
		{"nobody", func() { s.Call(":1.999", "/o", mainName, "Hold", "", nil, 0, done) },
			func(a answer) bool {
				var e dbus.Error
				return errors.As(a.err, &e) && e.Name == "org.freedesktop.DBus.Error.ServiceUnknown"
			}},
		{"wrong arguments", func() { s.Call(p.name, "/o", mainName, "Echo", "s", func(e *Encoder) { e.Byte(1) }, 0, done) },
			func(a answer) bool { return a.err != nil }},
		{"bad path", func() { s.Call(p.name, "o", mainName, "Echo", "", nil, 0, done) },
			func(a answer) bool { return a.err != nil }},
		{"bad destination", func() { s.Call("a b", "/o", mainName, "Echo", "", nil, 0, done) },
			func(a answer) bool { return a.err != nil }},
		{"done that panics", func() {
			s.Call(p.name, "/o", mainName, "Echo", "s", str, 0, func(body []any, err error) {
				done(body, err)
				panic("in done")
			})
		}, func(a answer) bool { return a.err == nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.do(tt.call)
			if a := wait(t, ch); !tt.ok(a) {
				t.Errorf("got %v, %v", a.body, a.err)
			}
		})
	}
	s.do(func() {
		if len(s.calls) != 0 {
			t.Errorf("%d calls are left over", len(s.calls))
		}
	})
	t.Run("late answer", func(t *testing.T) {
		p.do(func() { data(p.Object("/o")).hold[0].Reply() })
		s.do(func() {})
		select {
		case a := <-ch:
			t.Errorf("a second result: %v", a)
		default:
		}
	})
	t.Run("answer of a stranger", func(t *testing.T) {
		s.do(func() { s.Call(p.name, "/o", mainName, "Hold", "", nil, time.Minute, done) })
		r := newRaw(t, addr)
		var serial uint32
		s.do(func() {
			for serial = range s.calls {
			}
		})
		r.send(&outgoing{typ: dbus.TypeMethodReply, dest: s.name, reply: serial}, nil, nil)
		r.ping()
		s.do(func() {
			if len(s.calls) != 1 {
				t.Error("the answer of a stranger was taken")
			}
		})
	})
	t.Run("end", func(t *testing.T) {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if a := wait(t, ch); !errors.Is(a.err, ErrClosed) {
			t.Errorf("got %v", a.err)
		}
	})
}

func TestWatchName(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ch := make(chan string, 300)
	note := func(what string) func() { return func() { ch <- what } }
	t.Run("leaves", func(t *testing.T) {
		c, _ := dial(t, s.addr)
		s.do(func() {
			s.WatchName(c.name, note("a"))
			s.WatchName(c.name, note("b"))
			s.WatchName(c.name, note("cancelled"))()
		})
		s.do(func() {})
		c.Close()
		if a, b := wait(t, ch), wait(t, ch); a != "a" || b != "b" {
			t.Errorf("got %s, %s", a, b)
		}
	})
	t.Run("left before", func(t *testing.T) {
		c, _ := dial(t, s.addr)
		c.Close()
		s.do(func() { s.WatchName(c.name, note("gone")) })
		if got := wait(t, ch); got != "gone" {
			t.Error(got)
		}
	})
	t.Run("cancelled in the callback of another", func(t *testing.T) {
		c, _ := dial(t, s.addr)
		s.do(func() {
			var cancel func()
			s.WatchName(c.name, func() { cancel(); ch <- "first" })
			cancel = s.WatchName(c.name, note("second"))
		})
		c.Close()
		if got := wait(t, ch); got != "first" {
			t.Error(got)
		}
	})
	t.Run("many", func(t *testing.T) {
		var conns []*Conn
		s.do(func() {})
		for range maxNameRules + 20 {
			c, _ := dial(t, s.addr)
			conns = append(conns, c)
		}
		s.do(func() {
			for i, c := range conns {
				s.WatchName(c.name, note(fmt.Sprint(i)))
			}
			if n := len(s.watches.rules); n != maxNameRules+1 {
				t.Errorf("%d rules", n)
			}
		})
		for i, c := range conns {
			c.Close()
			if got := wait(t, ch); got != fmt.Sprint(i) {
				t.Errorf("got %s, want %d", got, i)
			}
		}
	})
	s.do(func() {
		if w := &s.watches; len(w.names) != 0 || w.ruled != 0 || len(w.rules) != 1 {
			t.Errorf("left over: %d names, %v", len(w.names), w.rules)
		}
	})
	if len(ch) != 0 {
		t.Errorf("too many calls: %s", <-ch)
	}
}

func TestWatchSignal(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c, log := dial(t, s.addr)
	p := run(t, s.addr, c, log)
	main := ifaceMain()
	p.do(func() { p.Add("/o", &thing{}, main); p.Add("/p", &thing{}, main) })
	ch := make(chan any, 10)
	var cancel, cancel2 func()
	s.do(func() {
		cancel = s.WatchSignal(p.name, "/o", mainName, "Happened", func(body []any) { ch <- body[0] })
		cancel2 = s.WatchSignal(p.name, "/o", mainName, "Happened", func(body []any) { panic("in watch") })
		s.WatchSignal(p.name, "bad path", "", "", nil)
		s.WatchSignal("well.known", "", "", "", nil)
	})
	s.do(func() {})
	emit := func(what string) {
		p.do(func() {
			p.Object("/p").Emit(main, "Happened", func(e *Encoder) { e.String("other path") })
			p.Object("/o").Emit(main, "Happened", func(e *Encoder) { e.String(what) })
		})
	}
	// A round trip to the bus, so that the rule is there.
	if err := s.RequestName(context.Background(), testName); err != nil {
		t.Fatal(err)
	}
	emit("one")
	if got := wait(t, ch); got != "one" {
		t.Error(got)
	}
	// A stranger can send us the signal, but not in another's name.
	r := newRaw(t, s.addr)
	body, _, _ := Marshal("s", func(e *Encoder) { e.String("forged") })
	r.send(&outgoing{typ: dbus.TypeSignal, dest: s.name, path: "/o", iface: mainName, member: "Happened", sig: "s"}, body, nil)
	r.ping()
	s.do(func() { cancel2(); cancel2() })
	emit("two")
	if got := wait(t, ch); got != "two" {
		t.Error(got)
	}
	s.do(cancel)
	emit("three")
	s.do(func() {
		if len(s.watches.rules) != 0 || len(s.watches.signals) != 0 {
			t.Errorf("left over: %v", s.watches.rules)
		}
	})
	if len(ch) > 0 {
		t.Error("called after cancel")
	}
}

func TestRunEndsWithTheContext(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := client(t, s.addr)
	ch := signals(t, c)
	main := ifaceMain()
	s.do(func() { s.Add("/o", &thing{}, main) })
	wait(t, ch)
	// What an event of the last moment changed is still sent.
	s.Post(func() {
		for range 100 {
			s.Object("/o").ChangedNow(main, "Number")
		}
	})
	s.do(func() {})
	if err := s.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	for range 100 {
		wait(t, ch)
	}
	if err := s.Do(context.Background(), func() { t.Error("ran") }); !errors.Is(err, ErrClosed) {
		t.Errorf("Do: %v", err)
	}
	s.Post(func() { t.Error("ran") })
	s.Close()
}

func TestRunEndsWithTheBus(t *testing.T) {
	t.Parallel()
	addr, stop := dbustest.StartStoppable(t)
	c, _ := dial(t, addr)
	done := make(chan error, 1)
	go func() { done <- c.Run(context.Background()) }()
	if err := c.Do(context.Background(), func() {}); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := wait(t, done); err == nil || !contains(err.Error(), "bus") {
		t.Errorf("got %v", err)
	}
	if err := c.Do(context.Background(), func() {}); !errors.Is(err, ErrClosed) {
		t.Errorf("Do: %v", err)
	}
}

func TestPost(t *testing.T) {
	t.Parallel()
	addr := dbustest.Start(t)
	c, log := dial(t, addr)
	var order []int
	for i := range 1000 { // before Run
		c.Post(func() { order = append(order, i) })
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Do(ctx, func() {}); !errors.Is(err, context.Canceled) {
		t.Errorf("Do before Run: %v", err)
	}
	s := run(t, addr, c, log)
	for i := range 1000 {
		c.Post(func() { order = append(order, 1000+i) })
	}
	s.Post(func() { panic("posted") })
	s.do(func() {})
	if len(order) != 2000 || !slices.IsSorted(order) {
		t.Errorf("%d functions ran, in order: %v", len(order), slices.IsSorted(order))
	}
	if !contains(log.String(), "posted") {
		t.Error("the panic is not in the log")
	}
}

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
		in := newReader(b)
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
	if c.out.backlog > maxBacklog+2*len(big) {
		t.Errorf("%d bytes wait for the bus", c.out.backlog)
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
	deadline := time.After(10 * time.Second)
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
			in := newReader(bus)
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
		for {
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
	for range 100 {
		if err := c.Object(testName, "/o").Call(mainName+".Echo", 0, "x").Err; err != nil {
			t.Fatal(err)
		}
		s.in.mu.Lock()
		if s.in.messages > maxWaitingMessages || s.in.bytes > maxWaitingBytes+maxBody {
			t.Errorf("%d messages and %d bytes wait", s.in.messages, s.in.bytes)
		}
		s.in.mu.Unlock()
	}
	close(stop)
	<-flooded
}
