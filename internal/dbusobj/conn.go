package dbusobj

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
)

// drainTime is how long the end of Run may take to write what is pending.
const drainTime = 2 * time.Second

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
}

// Conn is a connection to a bus with a tree of objects. The methods of the first group,
// up to [Conn.Do], are goroutine-safe; the others, and those of [Object] and [Call], are
// for the loop: handlers, callbacks and posted functions. Before Run was called, the
// goroutine that will call it may use them too.
type Conn struct {
	log   *slog.Logger
	sock  *net.UnixConn
	in    *inbox
	out   *outbox
	asked asks
	told  func(iface, member, errName string) // Config.Answered
	name  string

	serial atomic.Uint32
	dead   chan struct{} // closed at the end of the connection
	once   sync.Once     // guards dead and cause
	cause  error         // valid once dead is closed
	ended  sync.WaitGroup

	// The rest belongs to the loop.
	tree    tree
	pending pendingList
	calls   map[uint32]*outCall
	watches watches
	scratch []*Encoder
	batch   []item
}

// Dial connects to a bus and says Hello. The connection must be ended by [Conn.Run] or
// [Conn.Close].
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	sock, err := dialAny(ctx, cfg.Address)
	if err != nil {
		return nil, err
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	direct, err := newSocket(sock)
	if err != nil {
		_ = sock.Close()
		return nil, err
	}
	c := &Conn{
		log: log, sock: sock, in: newInbox(), out: newOutbox(direct), told: cfg.Answered,
		dead: make(chan struct{}), calls: make(map[uint32]*outCall),
	}
	c.tree.init(c)
	c.ended.Go(func() { c.read(newReader(direct)) })
	c.ended.Go(func() {
		if err := c.out.write(sock, c.dead); err != nil {
			c.fail(fmt.Errorf("cannot write to the bus: %w", err))
		}
	})
	body, err := c.ask(ctx, "Hello", "", nil)
	if err == nil {
		var ok bool
		if c.name, ok = one[string](body); !ok {
			err = errors.New("cannot say Hello to the bus: bad answer")
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// one returns the only value of body if it is a T.
func one[T any](body []any) (v T, ok bool) {
	if len(body) != 1 {
		return v, false
	}
	v, ok = body[0].(T)
	return v, ok
}

func (c *Conn) read(r *reader) {
	defer r.close()
	for {
		m, err := r.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the bus closed the connection")
			}
			c.fail(fmt.Errorf("cannot read from the bus: %w", err))
			return
		}
		if c.asked.answer(m) {
			continue
		}
		c.in.put(m, c.dead)
		if !r.more() {
			c.help()
		}
	}
}

// fail ends the connection; only the first cause counts.
func (c *Conn) fail(err error) {
	c.once.Do(func() {
		c.cause = err
		close(c.dead)
		_ = c.sock.Close()
	})
}

// Close ends a connection that Run does not run: it drops what is pending. After Run it
// does nothing.
func (c *Conn) Close() {
	c.fail(ErrClosed)
	c.in.close()
	c.out.close()
	c.ended.Wait()
}

// UniqueName is the connection's unique name on the bus, such as ":1.7".
func (c *Conn) UniqueName() string { return c.name }

// Run serves until ctx ends, then writes what is pending and returns nil, or until the
// bus goes away. The connection is closed afterwards. Run can be called once.
func (c *Conn) Run(ctx context.Context) error {
	c.loop(ctx)
	c.Flush()
	c.out.kick()
	c.out.end()
	var err error
	select {
	case <-c.dead:
		err = c.cause
	default:
		stop := time.AfterFunc(drainTime, func() { c.fail(errors.New("the bus takes nothing any more")) })
		err = c.drain()
		stop.Stop()
	}
	c.Close()
	for serial := range c.calls {
		c.finishCall(serial, nil, ErrClosed)
	}
	return err
}

// drain waits until the writer has written everything or the connection is dead.
func (c *Conn) drain() error {
	for !c.out.empty() {
		select {
		case <-c.out.room:
		case <-c.dead:
			return c.cause
		}
	}
	return nil
}

// loop returns as the one that runs the loop, for good.
func (c *Conn) loop(ctx context.Context) {
	c.in.serve(true)
	for c.serve(ctx) {
		select {
		case <-c.in.wake:
			continue
		case <-ctx.Done():
		case <-c.dead:
		}
		c.in.serve(false)
		for !c.in.claim(false) {
			<-c.in.wake
		}
		return
	}
}

// serve handles what waits, unless somebody else does. It reports whether to go on; if not, the caller still runs the loop.
func (c *Conn) serve(ctx context.Context) bool {
	if !c.in.claim(false) {
		return true
	}
	for {
		items := c.in.take(c.batch, math.MaxInt)
		if items == nil {
			return true
		}
		c.batch = items
		for i, it := range items {
			if !c.ready(ctx) {
				closeItems(items[i:])
				return false
			}
			c.do(it)
		}
		c.out.kick()
	}
}

func (c *Conn) do(it item) {
	if it.f != nil {
		c.guard("posted function", it.f)
	} else {
		c.handle(it.msg)
	}
	c.Flush()
}

// maxHelp is how many items one who helps handles at most: it has work of its own.
const maxHelp = 32

// help handles what waits in the caller's goroutine, unless somebody else does, and leaves it to Run where it might have to wait.
func (c *Conn) help() {
	if c.out.full() {
		signal(c.in.wake)
		return
	}
	if !c.in.claim(true) {
		return
	}
	for todo := maxHelp; todo > 0 && !c.out.full(); {
		items := c.in.take(c.batch, todo)
		if items == nil {
			return
		}
		c.batch = items
		todo -= len(items)
		for _, it := range items {
			c.do(it)
		}
		c.out.kick()
	}
	c.in.yield()
}

// ready waits until the bus is not too far behind. It reports whether to go on.
func (c *Conn) ready(ctx context.Context) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-c.dead:
			return false
		default:
		}
		if !c.out.full() {
			return true
		}
		c.out.kick()
		select {
		case <-c.out.room:
		case <-ctx.Done():
		case <-c.dead:
		}
	}
}

// Post runs f in the loop, after what was posted and received before. It never blocks.
// Once the connection is closed, f is not run.
func (c *Conn) Post(f func()) { c.in.post(f, false) }

// PostHelp is Post for a caller that holds no lock: unless the loop is at work elsewhere, f, and some of what else waits for the
// loop, runs in the caller's goroutine, which saves waking another.
func (c *Conn) PostHelp(f func()) {
	if c.in.post(f, true) {
		c.help()
	}
}

// Do posts f and waits until it ran. On an error, that of ctx or [ErrClosed], f may have
// run or still run. Do must not be called in the loop.
func (c *Conn) Do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !c.in.post(func() {
		defer close(done)
		f()
	}, false) {
		return ErrClosed
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.dead:
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

// encode encodes a body with f into a scratch encoder and passes it to use. The error,
// if f panicked or wrote something else than sig, is logged.
func (c *Conn) encode(what, sig string, f func(*Encoder), use func(body []byte, fds []int)) error {
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
		use(e.buf, e.fds)
	} else {
		closeFDs(e.fds)
		c.log.Error("cannot encode "+what, "error", err)
	}
	if e.fds = nil; cap(e.buf) > 4<<20 {
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
