package dbusobj

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"go.uber.org/goleak"

	"bluez-esphome/internal/dbusobj/dbustest"
)

// patience is how long a test waits: so long that only what hangs is caught, however busy the machine is.
const patience = 2 * time.Minute

const testName = "org.example.Service"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// server is a connection under test that runs.
type server struct {
	*Conn
	t    testing.TB
	addr string
	log  *lockedBuffer
	stop func() error // ends Run and returns its result
}

// do runs f in the loop.
func (s *server) do(f func()) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Do(ctx, f); err != nil {
		s.t.Fatalf("Do: %v", err)
	}
}

func dial(t testing.TB, addr string) (*Conn, *lockedBuffer) {
	t.Helper()
	log := new(lockedBuffer)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := Dial(ctx, Config{Address: addr, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return c, log
}

// run runs a connection until the test ends.
func run(t testing.TB, addr string, c *Conn, log *lockedBuffer) *server {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return &server{Conn: c, t: t, addr: addr, log: log, stop: stop}
}

// serve starts a bus and a server that owns testName on it.
func serve(t testing.TB) *server {
	t.Helper()
	addr := dbustest.Start(t)
	c, log := dial(t, addr)
	if err := c.RequestName(context.Background(), testName); err != nil {
		t.Fatal(err)
	}
	return run(t, addr, c, log)
}

// client is godbus, as a stranger to our code.
func client(t testing.TB, addr string) *dbus.Conn {
	t.Helper()
	c, err := dbus.Connect(addr, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// signals subscribes a client to all signals of the service.
func signals(t testing.TB, c *dbus.Conn) <-chan *dbus.Signal {
	t.Helper()
	ch := make(chan *dbus.Signal, 10000)
	c.Signal(ch)
	t.Cleanup(func() { c.RemoveSignal(ch) })
	if err := c.AddMatchSignal(dbus.WithMatchSender(testName)); err != nil {
		t.Fatal(err)
	}
	return ch
}

// describe makes a signal a line that is easy to compare: maps are sorted by fmt.
func describe(s *dbus.Signal) string { return fmt.Sprint(s.Path, " ", s.Name, " ", s.Body) }

// expect receives as many signals as there are lines and compares them in order.
func expect(t testing.TB, ch <-chan *dbus.Signal, want ...string) {
	t.Helper()
	for i := 0; i < len(want); i++ {
		w := want[i]
		select {
		case s := <-ch:
			if s.Sender == busName { // NameAcquired
				i--
				continue
			}
			if got := describe(s); got != w {
				t.Errorf("signal\n got %s\nwant %s", got, w)
			}
		case <-time.After(patience):
			t.Fatalf("no signal; want %s", w)
		}
	}
}

// quiet checks that no signal is left, by sending another one.
func (s *server) quiet(ch <-chan *dbus.Signal) {
	s.t.Helper()
	s.do(func() { s.emit("/", "org.example.Test1", "Sentinel", "", nil) })
	expect(s.t, ch, "/ org.example.Test1.Sentinel []")
}

// thing is the data of a test object.
type thing struct {
	number uint32
	name   string
	ghost  bool // Maybe exists
	calls  []string
	hold   []*Call
}

func data(o *Object) *thing { return o.Data().(*thing) }

// ifaceMain has something of everything.
func ifaceMain() *Interface {
	i := &Interface{
		Name:    "org.example.Main1",
		Signals: []Signal{{Name: "Happened", Args: []Arg{{"what", "s"}}}},
		Properties: []Property{
			{Name: "Number", Type: "u", Get: func(o *Object, e *Encoder) { e.Uint32(data(o).number) },
				Set: func(o *Object, v any, c *Call) {
					data(o).number = v.(uint32)
					o.Changed(o.named("org.example.Main1").Interface, "Number")
					c.Reply()
				}},
			{Name: "Name", Type: "s", Get: func(o *Object, e *Encoder) { e.String(data(o).name) }},
			{Name: "Maybe", Type: "s", Exists: func(o *Object) bool { return data(o).ghost },
				Get: func(o *Object, e *Encoder) { e.String("boo") }},
			{Name: "Late", Type: "as", Get: func(o *Object, e *Encoder) { e.Strings([]string{"a", "b"}) },
				Set: func(o *Object, v any, c *Call) { data(o).hold = append(data(o).hold, c) }},
		},
	}
	i.Methods = []Method{
		{Name: "Echo", In: []Arg{{"in", "s"}}, Out: []Arg{{"out", "s"}}, Call: func(c *Call) {
			c.Reply(func(e *Encoder) { e.String(c.Body[0].(string)) })
		}},
		{Name: "Note", In: []Arg{{"n", "u"}}, Out: []Arg{{"n", "u"}}, Call: func(c *Call) {
			n := c.Body[0].(uint32)
			data(c.Object).calls = append(data(c.Object).calls, fmt.Sprint(n))
			c.Reply(func(e *Encoder) { e.Uint32(n) })
		}},
		{Name: "Hold", Call: func(c *Call) { data(c.Object).hold = append(data(c.Object).hold, c) }},
		{Name: "Panic", Call: func(c *Call) { panic("as asked") }},
		{Name: "Twice", Call: func(c *Call) { c.Reply(); c.Reply(); c.Error("org.example.Error.No", "no") }},
		{Name: "Wrong", Out: []Arg{{"out", "s"}}, Call: func(c *Call) {
			c.Reply(func(e *Encoder) { e.Uint32(1) })
		}},
		{Name: "Fail", Call: func(c *Call) { c.Error("org.example.Error.Sad", "so sad\xff") }},
		{Name: "BadError", Call: func(c *Call) { c.Error("no dots", "x") }},
		{Name: "Any", In: []Arg{{"v", "v"}}, Out: []Arg{{"type", "s"}}, Call: func(c *Call) {
			c.Reply(func(e *Encoder) { e.String(c.Body[0].(dbus.Variant).Signature().String()) })
		}},
		{Name: "PutFD", In: []Arg{{"fd", "h"}}, Out: []Arg{{"text", "s"}}, Call: func(c *Call) {
			fd, ok := c.TakeFD(c.Body[0].(dbus.UnixFD))
			if !ok {
				c.Error("org.example.Error.NoFD", "")
				return
			}
			f := os.NewFile(uintptr(fd), "")
			defer f.Close()
			var b [64]byte
			n, _ := f.ReadAt(b[:], 0)
			c.Reply(func(e *Encoder) { e.String(string(b[:n])) })
		}},
		{Name: "DropFD", In: []Arg{{"fd", "h"}}, Call: func(c *Call) { c.Reply() }},
		{Name: "GetFD", Out: []Arg{{"fd", "h"}}, Call: func(c *Call) {
			f, err := os.Open("/proc/self/status")
			if err != nil {
				c.Error("org.example.Error.NoFD", err.Error())
				return
			}
			defer f.Close()
			fd, err := dup(f)
			if err != nil {
				c.Error("org.example.Error.NoFD", err.Error())
				return
			}
			c.Reply(func(e *Encoder) { e.FD(fd) })
		}},
		{Name: "Signal", Call: func(c *Call) {
			data(c.Object).number++
			c.Object.Changed(i, "Number")
			c.Object.Emit(i, "Happened", func(e *Encoder) { e.String("signal") })
			data(c.Object).number++
			c.Object.Changed(i, "Number")
			c.Reply()
		}},
	}
	return i
}

// ifaceExtra has no properties.
func ifaceExtra() *Interface {
	return &Interface{Name: "org.example.Extra1", Methods: []Method{
		{Name: "Nothing", Call: func(c *Call) { c.Reply() }},
		{Name: "Old", Deprecated: true, NoReply: true, Call: func(c *Call) { c.Reply() }},
	}}
}
