// Package linkstest has the fake of links.Links, scripted by a test: operations end when the test says so. It is
// goroutine-safe.
package linkstest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
)

// patience is how long a test waits for what must come.
const patience = 3 * time.Minute

// Op is one call of [Links]. A test ends it with one of its methods.
type Op struct {
	Kind   string // the method's name
	Addr   ble.Address
	Type   ble.AddressType
	Via    string
	Handle uint16
	Value  []byte
	Params ble.ConnectionParams // of SetConnectionParams
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
	if p := o.Params; p != (ble.ConnectionParams{}) {
		s += fmt.Sprint(" ", []uint16{p.MinInterval, p.MaxInterval, p.Latency, p.Timeout})
	}
	return s
}

// End ends the operation.
func (o *Op) End(err error) { o.done(nil, err) }

// Answer ends a Read or ReadDescriptor with a value.
func (o *Op) Answer(value ...byte) { o.done(value, nil) }

// Links is a scripted links.Links. Calls that expect no answer are recorded as the others.
type Links struct {
	ops  chan *Op
	work chan func()

	mu   sync.Mutex
	auto map[string]func(*Op)
	keep bool
	kept []*Op
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

// Keep has every call kept for Kept from now on.
func (l *Links) Keep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep = true
}

// Kept lists the calls since it was last asked, in order.
func (l *Links) Kept() []string {
	l.mu.Lock()
	kept := l.kept
	l.kept = nil
	l.mu.Unlock()
	out := make([]string, len(kept))
	for i, o := range kept {
		out[i] = o.String()
	}
	return out
}

// Count is how many calls Kept would list.
func (l *Links) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.kept)
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
	if l.keep {
		l.kept = append(l.kept, o)
	}
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

// Connect implements links.Links, as do the methods after it.
func (l *Links) Connect(a ble.Address, t ble.AddressType, via string, done func(error)) {
	l.put(&Op{Kind: "Connect", Addr: a, Type: t, Via: via, done: noValue(done)})
}

func (l *Links) CancelConnect(a ble.Address) { l.put(&Op{Kind: "CancelConnect", Addr: a}) }

func (l *Links) Disconnect(a ble.Address, done func()) {
	l.put(&Op{Kind: "Disconnect", Addr: a, done: func([]byte, error) { done() }})
}

func (l *Links) Do(a ble.Address, op ble.Operation, done func([]byte, error)) {
	l.put(&Op{Kind: op.Kind.String(), Addr: a, Handle: op.Handle, Value: op.Value, done: done})
}

// Listen implements links.Links; it is "Listen" or "Ignore".
func (l *Links) Listen(a ble.Address, h uint16, on bool, done func(error)) {
	kind := "Ignore"
	if on {
		kind = "Listen"
	}
	l.put(&Op{Kind: kind, Addr: a, Handle: h, done: noValue(done)})
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

func (l *Links) Unpair(ctx context.Context, a ble.Address, proxy string) error {
	_, err := l.wait(ctx, &Op{Kind: "Unpair", Addr: a, Via: proxy})
	return err
}

func (l *Links) Close() { l.put(&Op{Kind: "Close"}) }

func (l *Links) Forget(a ble.Address) { l.put(&Op{Kind: "Forget", Addr: a}) }

func (l *Links) DropCache(a ble.Address) { l.put(&Op{Kind: "DropCache", Addr: a}) }

func (l *Links) ClearCache(ctx context.Context, a ble.Address) (bool, error) {
	v, err := l.wait(ctx, &Op{Kind: "ClearCache", Addr: a})
	return len(v) > 0, err
}

func (l *Links) SetConnectionParams(ctx context.Context, a ble.Address, p ble.ConnectionParams) error {
	_, err := l.wait(ctx, &Op{Kind: "SetConnectionParams", Addr: a, Params: p})
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

var _ links.Links = (*Links)(nil)
