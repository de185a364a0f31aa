package dbusobj

import (
	"context"
	"errors"
	"fmt"
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
	case <-time.After(patience):
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
		{"reply", func() { s.Call(p.UniqueName(), "/o", mainName, "Echo", "s", str, time.Minute, done) },
			func(a answer) bool { return a.err == nil && a.body[0] == "hi" }},
		{"error", func() { s.Call(p.UniqueName(), "/o", mainName, "Fail", "", nil, 0, done) },
			func(a answer) bool {
				var e dbus.Error
				return errors.As(a.err, &e) && e.Name == "org.example.Error.Sad" && e.Body[0] == "so sad\uFFFD"
			}},
		{"time-out", func() { s.Call(p.UniqueName(), "/o", mainName, "Hold", "", nil, time.Millisecond, done) },
			func(a answer) bool {
				var e *TimeoutError
				return errors.As(a.err, &e) && e.Timeout() && e.Member == "Hold" && e.Dest == p.UniqueName()
			}},
		{"nobody", func() { s.Call(":1.999", "/o", mainName, "Hold", "", nil, 0, done) },
			func(a answer) bool {
				var e dbus.Error
				return errors.As(a.err, &e) && e.Name == "org.freedesktop.DBus.Error.ServiceUnknown"
			}},
		{"wrong arguments", func() { s.Call(p.UniqueName(), "/o", mainName, "Echo", "s", func(e *Encoder) { e.Byte(1) }, 0, done) },
			func(a answer) bool { return a.err != nil }},
		{"bad path", func() { s.Call(p.UniqueName(), "o", mainName, "Echo", "", nil, 0, done) },
			func(a answer) bool { return a.err != nil }},
		{"bad destination", func() { s.Call("a b", "/o", mainName, "Echo", "", nil, 0, done) },
			func(a answer) bool { return a.err != nil }},
		{"done that panics", func() {
			s.Call(p.UniqueName(), "/o", mainName, "Echo", "s", str, 0, func(body []any, err error) {
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
		s.do(func() { s.Call(p.UniqueName(), "/o", mainName, "Hold", "", nil, time.Minute, done) })
		r := newRaw(t, addr)
		var serial uint32
		s.do(func() {
			for serial = range s.calls {
			}
		})
		r.send(&outgoing{typ: dbus.TypeMethodReply, dest: s.UniqueName(), reply: serial}, nil, nil)
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
			s.WatchName(c.UniqueName(), note("a"))
			s.WatchName(c.UniqueName(), note("b"))
			s.WatchName(c.UniqueName(), note("cancelled"))()
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
		s.do(func() { s.WatchName(c.UniqueName(), note("gone")) })
		if got := wait(t, ch); got != "gone" {
			t.Error(got)
		}
	})
	t.Run("cancelled in the callback of another", func(t *testing.T) {
		c, _ := dial(t, s.addr)
		s.do(func() {
			var cancel func()
			s.WatchName(c.UniqueName(), func() { cancel(); ch <- "first" })
			cancel = s.WatchName(c.UniqueName(), note("second"))
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
				s.WatchName(c.UniqueName(), note(fmt.Sprint(i)))
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
		cancel = s.WatchSignal(p.UniqueName(), "/o", mainName, "Happened", func(body []any) { ch <- body[0] })
		cancel2 = s.WatchSignal(p.UniqueName(), "/o", mainName, "Happened", func(body []any) { panic("in watch") })
		s.WatchSignal(p.UniqueName(), "bad path", "", "", nil)
		s.WatchSignal("well.known", "", "", "", nil)
	})
	s.do(func() {
		s.WatchSignal(p.UniqueName(), "/p", mainName, "Other", nil)()
		if len(s.watches.rules) != 1 {
			t.Errorf("rules: %v", s.watches.rules)
		}
	})
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
	r.send(&outgoing{typ: dbus.TypeSignal, dest: s.UniqueName(), path: "/o", iface: mainName, member: "Happened", sig: "s"}, body, nil)
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
