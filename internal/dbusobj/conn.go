package dbusobj

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
)

// drainTime is how long the end of Run may take to write what is pending.
const drainTime = 300 * time.Millisecond

// ErrClosed is the error of everything that a closed connection can't do any more.
var ErrClosed = errors.New("the connection to the bus is closed")

// Config configures a connection.
type Config struct {
	// Address is where the bus listens: unix:path=… or unix:abstract=…, or several of them
	// separated by semicolons, which are tried in turn.
	Address string
	// Logger takes failures of handlers and of clients; nil means none.
	Logger *slog.Logger
	// Answered, if not nil, is told of each call that was answered: by which method, and with which error, "" for
	// none. For calls of what does not exist, iface and member are empty: clients choose those. It is called in the loop.
	Answered func(iface, member, errName string)
	// Reconnect, if not nil, makes Run outlive the bus; its Name is to be owned before Run.
	Reconnect *Reconnect
}

// Conn is a connection to a bus with a tree of objects. The methods of the first group,
// up to [Conn.Do], are goroutine-safe; the others, and those of [Object] and [Call], are
// for the loop: handlers, callbacks and posted functions. Before Run was called, the
// goroutine that will call it may use them too.
type Conn struct {
	log     *slog.Logger
	address string
	in      *inbox
	told    func(iface, member, errName string) // Config.Answered

	serial atomic.Uint32
	wire   atomic.Pointer[wire] // nil while there is no bus; stored by the loop
	gone   chan struct{}        // closed when nothing is run any more
	once   sync.Once            // guards gone
	reconnection

	// The rest belongs to the loop.
	out     *outbox // of the wire, or of the last one, which is closed
	tree    tree
	pending pendingList
	open    openCalls
	calls   map[uint32]*outCall
	watches watches
	scratch []*Encoder
	spent   time.Duration // on the last piece of work
}

// Dial connects to a bus and says Hello. The connection must be ended by [Conn.Run] or
// [Conn.Close].
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	c := newConn(cfg)
	w, err := c.dialWire(ctx, cfg.Address)
	if err != nil {
		return nil, err
	}
	c.wire.Store(w)
	c.out = w.out
	c.tree.init(c)
	return c, nil
}

// Detached makes a Conn that has no bus and never gets one. Its tree and its loop work as usual; what is sent is
// dropped, and no calls arrive. Config.Address and Reconnect are ignored.
func Detached(cfg Config) *Conn {
	cfg.Reconnect = nil
	c := newConn(cfg)
	c.out = newOutbox(socket{})
	c.out.close()
	c.tree.init(c)
	return c
}

func newConn(cfg Config) *Conn {
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Conn{
		log: log, address: cfg.Address, in: newInbox(), told: cfg.Answered,
		reconnection: reconnection{again: cfg.Reconnect, owned: true, redialed: make(chan redialed)},
		gone:         make(chan struct{}), calls: make(map[uint32]*outCall),
	}
}

// one returns the only value of body if it is a T.
func one[T any](body []any) (v T, ok bool) {
	if len(body) != 1 {
		return v, false
	}
	v, ok = body[0].(T)
	return v, ok
}

// Close ends a connection that Run does not run: it drops what is pending. After Run it
// does nothing.
func (c *Conn) Close() {
	if w := c.wire.Load(); w != nil {
		w.close(ErrClosed)
	}
	c.in.close()
	c.once.Do(func() { close(c.gone) })
}

// UniqueName is the connection's unique name on the bus, such as ":1.7"; empty while there is no bus.
func (c *Conn) UniqueName() string {
	if w := c.wire.Load(); w != nil {
		return w.name
	}
	return ""
}

// Run serves until ctx ends, then writes what is pending and returns nil, or until the
// bus goes away, unless Config.Reconnect says otherwise. The connection is closed afterwards. Run can be called once.
func (c *Conn) Run(ctx context.Context) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	err := c.loop(running)
	stop()
	c.helpers.Wait()
	c.Flush()
	c.out.kick()
	c.out.end()
	if w := c.wire.Load(); w != nil && err == nil {
		stop := time.AfterFunc(drainTime, func() { w.fail(errors.New("the bus takes nothing any more")) })
		err = w.drain()
		stop.Stop()
	}
	c.Close()
	for serial := range c.calls {
		c.finishCall(serial, nil, ErrClosed)
	}
	return err
}

// kickEvery is how long what was sent may lie while the loop has more to do.
const kickEvery = time.Millisecond

// loop runs until ctx ends (nil) or the connection does (the cause). When it returns, its caller still runs the loop.
func (c *Conn) loop(ctx context.Context) error {
	c.in.serve()
	for {
		if ok, err := c.serve(ctx); !ok {
			return err
		}
		if ok, err := c.wait(ctx); !ok {
			return err
		}
	}
}

// serve handles the work that waits, unless another goroutine runs the loop. At the end of Run it returns false, and
// its caller still runs the loop.
func (c *Conn) serve(ctx context.Context) (bool, error) {
	if !c.in.claim() {
		return true, nil
	}
	kicked := time.Now()
	for {
		w, ok := c.in.next(c.spent)
		c.spent = 0
		if !ok {
			c.out.kick()
			if c.in.finish() {
				return true, nil
			}
			continue
		}
		if ok, err := c.check(ctx); !ok {
			w.close()
			return false, err
		}
		if now := c.do(w); now.Sub(kicked) >= kickEvery {
			kicked = now
			c.out.kick()
		}
	}
}

// do handles one turn's work and gives the time afterwards.
func (c *Conn) do(w work) time.Time {
	begun := time.Now()
	switch {
	case w.msg == nil:
		for i, f := range w.funcs {
			_ = c.guard("posted function", f)
			c.Flush()
			if c.out.full() {
				c.in.putBack(w.funcs[i+1:])
				break
			}
		}
	case w.from == c.wire.Load():
		c.handle(w.msg)
		c.Flush()
	default: // from a bus that is gone
		w.close()
	}
	now := time.Now()
	c.spent = now.Sub(begun)
	return now
}

// maxHelp and helpTime bound the turns that a helper takes on, and their time. It has work of its own: behind the
// reader, for example, the messages of all clients wait in the bus's one queue.
const (
	maxHelp  = 32
	helpTime = 500 * time.Microsecond
)

// help handles the work that waits in the caller's goroutine, unless another one runs the loop. When the bus takes
// nothing, it leaves the work to Run, which may wait. The caller must hold no lock.
func (c *Conn) help() {
	if !c.in.claimToHelp() {
		return
	}
	begun := time.Now()
	for range maxHelp {
		if c.out.full() {
			break
		}
		w, ok := c.in.next(c.spent)
		c.spent = 0
		if !ok {
			c.out.kick()
			if c.in.finish() {
				return
			}
			continue
		}
		if c.do(w).Sub(begun) >= helpTime {
			break
		}
	}
	c.out.kick()
	c.in.leave()
}

// wait waits for work. At the end of Run it returns false, and the caller runs the loop.
func (c *Conn) wait(ctx context.Context) (bool, error) {
	var dead <-chan struct{}
	if w := c.wire.Load(); w != nil {
		dead = w.dead
	}
	ok, err := true, error(nil)
	select {
	case <-c.in.wake:
		return true, nil
	case <-ctx.Done():
		c.own()
		return false, nil
	case <-dead:
		c.own()
		ok, err = c.check(ctx)
	case r := <-c.redialed:
		c.own()
		err = c.found(r)
		ok = err == nil
	}
	if ok {
		c.in.leave()
	}
	return ok, err
}

// own waits until its caller, Run, has the loop.
func (c *Conn) own() {
	for !c.in.claim() {
		<-c.in.wake
	}
}

// Post runs f in the loop, after what was posted before. It never blocks.
// Once the connection is closed, f is not run.
func (c *Conn) Post(f func()) { c.in.post(f, false) }

// PostHelp is Post for a caller that holds no lock. Unless another goroutine runs the loop, f and some of the other
// work that waits run in the caller's goroutine, which saves waking another one.
func (c *Conn) PostHelp(f func()) {
	if c.in.post(f, true) {
		c.help()
	}
}

// PostFirst is PostHelp for a caller that calls PostHelp again at once: f waits for that, so that what both send goes out
// with one write.
func (c *Conn) PostFirst(f func()) { c.in.post(f, true) }

// Do posts f and waits until it ran. The error is that of ctx or [ErrClosed]; f may have run by then, or run later. Do
// must not be called in the loop.
func (c *Conn) Do(ctx context.Context, f func()) error { return c.await(ctx, f, false) }

// DoHelp is Do for a caller that holds no lock, as PostHelp is Post.
func (c *Conn) DoHelp(ctx context.Context, f func()) error { return c.await(ctx, f, true) }

func (c *Conn) await(ctx context.Context, f func(), help bool) error {
	done := make(chan struct{})
	if !c.in.post(func() {
		defer close(done)
		f()
	}, help) {
		return ErrClosed
	}
	if help {
		c.help()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.gone:
	}
	select {
	case <-done:
		return nil
	default:
		return ErrClosed
	}
}

// guard runs f; a panic is logged and returned, never passed on.
func (c *Conn) guard(what string, f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicError(r)
			c.log.Error("panic in "+what, "error", err)
		}
	}()
	f()
	return nil
}

// panicError describes a recovered panic with its stack, for the log.
func panicError(r any) error { return fmt.Errorf("panic: %v\n%s", r, debug.Stack()) }

// nextSerial is never 0, which D-Bus forbids.
func (c *Conn) nextSerial() uint32 {
	for {
		if s := c.serial.Add(1); s != 0 {
			return s
		}
	}
}

// handle handles a received message and closes its file descriptors, unless a call keeps them.
func (c *Conn) handle(m *message) {
	defer m.close()
	switch m.typ {
	case dbus.TypeMethodCall:
		c.handleCall(m)
	case dbus.TypeMethodReply, dbus.TypeError:
		c.handleReply(m)
	case dbus.TypeSignal:
		c.handleSignal(m)
	}
}

// encode encodes a body with f into a scratch encoder and passes it to use, which says whether it keeps it. The error,
// if f panicked or wrote something else than sig, is logged.
func (c *Conn) encode(what, sig string, f func(*Encoder), use func(body []byte, fds []int) (kept bool)) error {
	var e *Encoder
	if n := len(c.scratch); n > 0 {
		e, c.scratch = c.scratch[n-1], c.scratch[:n-1]
	} else {
		e = new(Encoder)
	}
	e.reset(sig)
	var err error
	if f != nil {
		err = e.attempt(func() { f(e) })
	}
	if err == nil {
		err = e.finish()
	}
	if err == nil && len(e.fds) > maxFDs {
		err = fmt.Errorf("cannot encode message: %d file descriptors are too many", len(e.fds))
	}
	if err == nil {
		if use(e.buf, e.fds) {
			e.buf = nil
		}
	} else {
		closeFDs(e.fds)
		c.log.Error("cannot encode "+what, "error", err)
	}
	e.fds = nil
	if cap(e.buf) > 4<<20 {
		e.buf = nil
	}
	c.scratch = append(c.scratch, e)
	return err
}

// machineID is what Peer.GetMachineId answers: the id of the machine as systemd or D-Bus
// keep it, empty if there is none.
func machineID() string {
	for _, name := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if b, err := os.ReadFile(name); err == nil && len(b) >= 32 {
			return string(b[:32])
		}
	}
	return ""
}
