package shimtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// Op is one call of [Links]. A test ends it with one of its methods.
type Op struct {
	Kind   string // the method's name
	Addr   ble.Address
	Type   ble.AddressType
	Via    string
	Handle uint16
	Value  []byte
	Params [4]uint16 // SetConnectionParams
	Ctx    context.Context

	done func([]byte, error)
}

// String is the call without its end: "Read 0003", "Write 0003 [1 2]".
func (o *Op) String() string {
	s := o.Kind
	if o.Via != "" {
		s += " via " + o.Via
	}
	if o.Handle != 0 {
		s += fmt.Sprintf(" %04x", o.Handle)
	}
	if o.Value != nil {
		s += fmt.Sprint(" ", o.Value)
	}
	if o.Params != [4]uint16{} {
		s += fmt.Sprint(" ", o.Params)
	}
	return s
}

// End ends the operation.
func (o *Op) End(err error) { o.done(nil, err) }

// Answer ends a Read or ReadDescriptor with a value.
func (o *Op) Answer(value ...byte) { o.done(value, nil) }

// Links is a scripted bluezshim.Links. Calls that expect no answer are recorded as the others.
type Links struct {
	mu   sync.Mutex
	ops  chan *Op
	auto map[string]func(*Op)
	work chan func()
}

// NewLinks returns links on which nothing ends by itself.
func NewLinks(t testing.TB) *Links {
	l := &Links{ops: make(chan *Op, 1<<16), auto: map[string]func(*Op){}, work: make(chan func(), 1<<16)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for f := range l.work {
			if f == nil {
				return
			}
			f()
		}
	}()
	t.Cleanup(func() {
		l.work <- nil
		<-ended
	})
	return l
}

// Auto has operations of that kind run f, in order, in a goroutine of the Links, instead of waiting for [Links.Next].
// f nil ends that.
func (l *Links) Auto(kind string, f func(*Op)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.auto[kind] = f
}

// Next waits for the next operation, which must be as described.
func (l *Links) Next(t testing.TB, want string) *Op {
	t.Helper()
	select {
	case o := <-l.ops:
		if o.String() != want {
			t.Fatalf("operation %q, want %q", o, want)
		}
		return o
	case <-time.After(patience):
		t.Fatalf("no operation, want %q", want)
		return nil
	}
}

// None checks that no operation was asked for that the test did not take.
func (l *Links) None(t testing.TB) {
	t.Helper()
	select {
	case o := <-l.ops:
		t.Fatalf("operation %q, want none", o)
	default:
	}
}

// Sync waits until what [Links.Auto] runs has run.
func (l *Links) Sync() {
	done := make(chan struct{})
	l.work <- func() { close(done) }
	<-done
}

func (l *Links) put(o *Op) {
	l.mu.Lock()
	f := l.auto[o.Kind]
	l.mu.Unlock()
	if f != nil {
		l.work <- func() { f(o) }
		return
	}
	l.ops <- o
}

func noValue(done func(error)) func([]byte, error) {
	return func(_ []byte, err error) { done(err) }
}

// Connect implements bluezshim.Links, as do the methods after it.
func (l *Links) Connect(a ble.Address, t ble.AddressType, via string, done func(error)) {
	l.put(&Op{Kind: "Connect", Addr: a, Type: t, Via: via, done: noValue(done)})
}

func (l *Links) CancelConnect(a ble.Address) { l.put(&Op{Kind: "CancelConnect", Addr: a}) }

func (l *Links) Disconnect(a ble.Address, done func()) {
	l.put(&Op{Kind: "Disconnect", Addr: a, done: func([]byte, error) { done() }})
}

func (l *Links) Read(a ble.Address, h uint16, done func([]byte, error)) {
	l.put(&Op{Kind: "Read", Addr: a, Handle: h, done: done})
}

func (l *Links) ReadDescriptor(a ble.Address, h uint16, done func([]byte, error)) {
	l.put(&Op{Kind: "ReadDescriptor", Addr: a, Handle: h, done: done})
}

func (l *Links) Write(a ble.Address, h uint16, v []byte, done func(error)) {
	l.put(&Op{Kind: "Write", Addr: a, Handle: h, Value: v, done: noValue(done)})
}

func (l *Links) WriteCommand(a ble.Address, h uint16, v []byte, done func(error)) {
	l.put(&Op{Kind: "WriteCommand", Addr: a, Handle: h, Value: v, done: noValue(done)})
}

func (l *Links) WriteDescriptor(a ble.Address, h uint16, v []byte, done func(error)) {
	l.put(&Op{Kind: "WriteDescriptor", Addr: a, Handle: h, Value: v, done: noValue(done)})
}

func (l *Links) Subscribe(a ble.Address, h uint16, done func(error)) {
	l.put(&Op{Kind: "Subscribe", Addr: a, Handle: h, done: noValue(done)})
}

func (l *Links) Unsubscribe(a ble.Address, h uint16) {
	l.put(&Op{Kind: "Unsubscribe", Addr: a, Handle: h})
}

func (l *Links) Pair(a ble.Address, done func(error)) {
	l.put(&Op{Kind: "Pair", Addr: a, done: noValue(done)})
}

func (l *Links) Forget(a ble.Address) { l.put(&Op{Kind: "Forget", Addr: a}) }

func (l *Links) ClearCache(ctx context.Context, a ble.Address) (bool, error) {
	v, err := l.wait(ctx, &Op{Kind: "ClearCache", Addr: a})
	return len(v) > 0, err
}

func (l *Links) SetConnectionParams(ctx context.Context, a ble.Address, lo, hi, latency, timeout uint16) error {
	_, err := l.wait(ctx, &Op{Kind: "SetConnectionParams", Addr: a, Params: [4]uint16{lo, hi, latency, timeout}})
	return err
}

// wait blocks, as these two may, until the test ends the operation or the caller gives up.
func (l *Links) wait(ctx context.Context, o *Op) ([]byte, error) {
	type result struct {
		v   []byte
		err error
	}
	ch := make(chan result, 1)
	o.Ctx, o.done = ctx, func(v []byte, err error) { ch <- result{v, err} }
	l.put(o)
	select {
	case r := <-ch:
		return r.v, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var _ bluezshim.Links = (*Links)(nil)
