package dbusobj

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"bluez-esphome/internal/dbusobj/dbustest"
)

// again is a server that outlives its bus.
type again struct {
	*server
	dir  string
	lost chan error
	back chan struct{}
}

func serveAgain(t *testing.T) (*again, func()) {
	t.Helper()
	a := &again{dir: dbustest.Folder(t), lost: make(chan error, 1), back: make(chan struct{}, 1)}
	addr, stop := dbustest.StartIn(t, a.dir)
	log := new(lockedBuffer)
	c, err := Dial(t.Context(), Config{Address: addr, Logger: slog.New(slog.NewTextHandler(log, nil)), Reconnect: &Reconnect{
		Name: testName, Lost: func(err error) { a.lost <- err }, Back: func() { a.back <- struct{}{} },
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RequestName(t.Context(), testName); err != nil {
		t.Fatal(err)
	}
	a.server = run(t, addr, c, log)
	return a, stop
}

// TestReconnect: the bus is killed and started again, twice. Those who were on it are gone, their calls and ours end,
// and new clients find the tree as it is by then.
func TestReconnect(t *testing.T) {
	t.Parallel()
	a, stop := serveAgain(t)
	o := &thing{name: "before"}
	a.do(func() { a.Add("/o", o, ifaceMain()) })
	for range 2 {
		c := client(t, a.addr)
		var late *Call // answered on the next bus, where its sender's name may be somebody else's
		gone, answered := make(chan struct{}), make(chan error, 1)
		c.Object(testName, "/o").Go(mainName+".Hold", 0, nil)
		var v string
		if err := c.Object(testName, "/o").Call(mainName+".Echo", 0, "hi").Store(&v); err != nil || v != "hi" {
			t.Fatal(v, err)
		}
		a.do(func() {
			a.WatchName(c.Names()[0], func() { close(gone) })
			a.Call(c.Names()[0], "/", "org.example.Never", "Answered", "", nil, 0, func(_ []any, err error) { answered <- err })
		})
		stop()
		wait(t, a.lost)
		wait(t, gone)
		if err := wait(t, answered); !errors.Is(err, ErrClosed) && err == nil {
			t.Errorf("our call ended with %v", err)
		}
		// Work goes on without a bus, also that of calls from before.
		a.do(func() {
			o.name = "meanwhile"
			a.Object("/o").Changed(a.Object("/o").named(mainName).Interface, "Name")
			a.Add("/new", &thing{}, ifaceMain())
			late = o.hold[0]
			if a.UniqueName() != "" || len(a.watches.names) > 0 || len(a.calls) > 0 {
				t.Errorf("left over: name %q, watches %v, calls %v", a.UniqueName(), a.watches.names, a.calls)
			}
			o.hold = nil
		})
		_, stop = dbustest.StartIn(t, a.dir)
		wait(t, a.back)
		c = client(t, a.addr)
		var name any
		if err := c.Object(testName, "/o").Call(propertiesName+".Get", 0, mainName, "Name").Store(&name); err != nil || name != "meanwhile" {
			t.Errorf("after the restart: %v, %v", name, err)
		}
		if err := c.Object(testName, "/new").Call(mainName+".Echo", 0, "hi").Store(&v); err != nil {
			t.Error(err)
		}
		// Whoever comes now is watched again.
		left := make(chan struct{})
		a.do(func() {
			a.WatchName(c.Names()[0], func() { close(left) })
			a.Remove(a.Object("/new"))
			a.out.mu.Lock()
			before := a.out.backlog.Load()
			a.out.mu.Unlock()
			late.Reply()
			a.out.mu.Lock()
			defer a.out.mu.Unlock()
			if a.out.backlog.Load() > before {
				t.Error("a call from the bus that is gone was answered on this one")
			}
		})
		_ = c.Close()
		wait(t, left)
	}
	if err := a.stop(); err != nil {
		t.Error(err)
	}
}

// TestReconnectSignals: what is listened to stays so.
func TestReconnectSignals(t *testing.T) {
	t.Parallel()
	a, stop := serveAgain(t)
	heard := make(chan []any, 1)
	a.do(func() { a.WatchSignal("", "/x", "org.example.Other", "Said", func(body []any) { heard <- body }) })
	stop()
	wait(t, a.lost)
	dbustest.StartIn(t, a.dir)
	wait(t, a.back)
	a.do(func() {}) // the rules are on their way before anything that comes later
	c := client(t, a.addr)
	if err := c.Object(testName, "/").Call("org.freedesktop.DBus.Peer.Ping", 0).Err; err != nil {
		t.Fatal(err)
	}
	if err := c.Emit("/x", "org.example.Other.Said", "hello"); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, heard); got[0] != "hello" {
		t.Errorf("heard %v", got)
	}
}

// TestReconnectTaken: who owns the name on the new bus keeps it, and Run says so.
func TestReconnectTaken(t *testing.T) {
	t.Parallel()
	dir := dbustest.Folder(t)
	addr, stop := dbustest.StartIn(t, dir)
	other := dbustest.Start(t) // the bus that is found again
	prepared := make(chan struct{}, 1)
	c, err := Dial(t.Context(), Config{Address: addr, Reconnect: &Reconnect{
		Name: testName, Lost: func(error) {}, Back: func() { t.Error("back") },
		Prepare: func(context.Context) (string, error) {
			select {
			case prepared <- struct{}{}:
			default:
			}
			return other, nil
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, other).RequestName(testName, 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Run(t.Context()) }()
	stop()
	wait(t, prepared)
	taken := new(NameTakenError)
	if err := wait(t, done); !errors.As(err, &taken) || taken.Name != testName {
		t.Errorf("Run ended with %v", err)
	}
}

// TestReconnectEnd: Run ends while there is no bus.
func TestReconnectEnd(t *testing.T) {
	t.Parallel()
	a, stop := serveAgain(t)
	stop()
	wait(t, a.lost)
	if err := a.stop(); err != nil {
		t.Error(err)
	}
	if err := a.Do(t.Context(), func() {}); !errors.Is(err, ErrClosed) {
		t.Errorf("Do after the end: %v", err)
	}
	if err := a.RequestName(t.Context(), testName); !errors.Is(err, ErrClosed) {
		t.Errorf("RequestName after the end: %v", err)
	}
}
