package dbusobj

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// note is a message of a client.
func note(sender, what string, size int) *message {
	return &message{typ: dbus.TypeMethodCall, sender: sender, member: what, body: make([]byte, size)}
}

// left is the message that tells that a client left the bus.
func left(t testing.TB, client string) *message {
	body, _, err := Marshal("sss", func(e *Encoder) { e.String(client); e.String(client); e.String("") })
	if err != nil {
		t.Fatal(err)
	}
	return &message{typ: dbus.TypeSignal, sender: busName, iface: busInterface, member: "NameOwnerChanged", sig: "sss", body: body}
}

// drain takes everything; cost says how long a message takes.
func drain(b *inbox, cost func(m *message) time.Duration) (order []string) {
	var spent time.Duration
	for {
		it, ok := b.next(spent)
		if !ok {
			return order
		}
		if it.msg == nil {
			spent = 0
			for range it.funcs {
				order = append(order, "post")
			}
			continue
		}
		spent = cost(it.msg)
		order = append(order, it.msg.sender+it.msg.member)
	}
}

// A client that asks for much waits for itself: another that asks now and then is next, whatever waits.
func TestFairTurns(t *testing.T) {
	t.Parallel()
	b := newInbox()
	put := func(sender, what string) {
		t.Helper()
		if ok, _ := b.put(note(sender, what, 0), nil); !ok {
			t.Fatalf("%s %s was refused", sender, what)
		}
	}
	for i := range 10 {
		put("a", fmt.Sprint(i))
	}
	for i := range 100 {
		put("b", fmt.Sprint(i))
	}
	cost := func(m *message) time.Duration {
		if m.sender == "a" {
			return 10 * time.Millisecond
		}
		return time.Millisecond
	}
	// a is served for 10 ms, then b ten times, and so on; each in its own order.
	got := strings.Join(drain(b, cost)[:25], " ")
	want := "a0 b0 b1 b2 b3 b4 b5 b6 b7 b8 b9 a1 b10 b11 b12 b13 b14 b15 b16 b17 b18 b19 a2 b20 b21"
	if got != want {
		t.Errorf("the order is %s", got)
	}
	// Having been served for long is remembered while others wait.
	for i := range 3 {
		put("a", fmt.Sprint("A", i))
		put("c", fmt.Sprint("C", i))
	}
	if got := strings.Join(drain(b, cost), " "); got != "aA0 cC0 cC1 cC2 aA1 aA2" {
		t.Errorf("the order is %s", got)
	}
	// Functions and messages take turns: a message is next after postTurn functions, and functions after one message.
	for range 2*postTurn + 2 {
		b.post(func() {}, false)
	}
	for i := range 3 {
		put("a", fmt.Sprint(i))
	}
	turn := strings.Repeat("post ", postTurn)
	if got, want := strings.Join(drain(b, cost), " "), turn+"a0 "+turn+"a1 post post a2"; got != want {
		t.Errorf("the order is %s", got)
	}
}

// While nobody asks for much, calls are handled in the order of their arrival, whoever sent them.
func TestOrderOfArrival(t *testing.T) {
	t.Parallel()
	b := newInbox()
	for round, want := range []string{"a0 a1 b0 a2 c0 b1", "c3 b3 a3 a4"} {
		for _, m := range strings.Fields(want) {
			if ok, _ := b.put(note(m[:1], m[1:], 0), nil); !ok {
				t.Fatal("refused")
			}
		}
		if got := strings.Join(drain(b, func(*message) time.Duration { return 100 * time.Microsecond }), " "); got != want {
			t.Errorf("round %d: the order is %s, want %s", round, got, want)
		}
	}
	// A call that is being handled does not set back what its sender asks next.
	b.put(note("a", "5", 0), nil)
	if it, ok := b.next(0); !ok || it.msg.member != "5" {
		t.Fatal("a5 is not next")
	}
	for _, m := range []string{"a6", "b6"} {
		b.put(note(m[:1], m[1:], 0), nil)
	}
	if it, ok := b.next(300 * time.Microsecond); !ok || it.msg.sender != "a" {
		t.Errorf("%s before a", it.msg.sender)
	}
}

// That a client left comes after what it sent.
func TestLeavingComesLast(t *testing.T) {
	t.Parallel()
	b := newInbox()
	for i := range 3 {
		b.put(note(":1.5", fmt.Sprint(i), 0), nil)
		b.put(note(":1.6", fmt.Sprint(i), 0), nil)
	}
	b.put(left(t, ":1.5"), nil)
	order := drain(b, func(*message) time.Duration { return time.Millisecond })
	if got := strings.Join(order, " "); got != ":1.50 :1.60 :1.51 :1.61 :1.52 :1.62 org.freedesktop.DBusNameOwnerChanged" {
		t.Errorf("the order is %s", got)
	}
	for _, odd := range [][]byte{nil, {1}, {255, 255, 255, 255, ':'}, {2, 0, 0, 0, ':'}} {
		m := left(t, ":1.5")
		m.body = odd
		if got := m.client(); got != busName {
			t.Errorf("%v belongs to %q", odd, got)
		}
	}
}

// What one client may have waiting is bounded, and what all may; one with little is served all the same, and the bus
// always.
func TestTooMuchWaits(t *testing.T) {
	t.Parallel()
	b := newInbox()
	take := func(sender string, size int) (n int) {
		for {
			ok, first := b.put(note(sender, "x", size), nil)
			if !ok {
				if !first {
					t.Error("the first refusal is not the first")
				}
				if _, first := b.put(note(sender, "x", size), nil); first {
					t.Error("the second refusal is the first")
				}
				return n
			}
			n++
		}
	}
	if n := take("a", 0); n != maxClientMessages {
		t.Errorf("%d messages of one client wait", n)
	}
	if n := take("b", 1<<20); n != maxClientBytes>>20+1 {
		t.Errorf("%d MiB of one client wait", n)
	}
	for i := range 2 * maxAllMessages / maxClientMessages {
		take(fmt.Sprint("c", i), 0)
	}
	if b.messages > maxAllMessages+10*fewMessages {
		t.Errorf("%d messages wait", b.messages)
	}
	for i := range fewMessages {
		if ok, _ := b.put(note("late", "x", 100), nil); !ok {
			t.Errorf("message %d of a client with little was refused", i)
		}
	}
	if ok, _ := b.put(note("late", "x", 100), nil); ok {
		t.Error("a client with much was served")
	}
	if ok, _ := b.put(left(t, "a"), nil); !ok {
		t.Error("the bus was refused")
	}
	n := len(drain(b, func(*message) time.Duration { return time.Microsecond }))
	if n < maxAllMessages || b.messages != 0 || b.bytes != 0 || b.fds != 0 {
		t.Errorf("%d messages were handled; %d with %d bytes are left", n, b.messages, b.bytes)
	}
	if ok, _ := b.put(note("a", "x", 0), nil); !ok {
		t.Error("a client is refused for good")
	}
}

// Descriptors are bounded too, and those that wait are closed at the end. Not parallel: it counts the descriptors of
// the process.
func TestWaitingDescriptors(t *testing.T) {
	before := countFDs(t)
	b := newInbox()
	n := 0
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := dup(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		m := note("a", "x", 0)
		m.fds = []int{fd}
		if ok, _ := b.put(m, nil); !ok {
			m.close()
			break
		}
		n++
	}
	if n != maxClientFDs {
		t.Errorf("%d descriptors of one client wait", n)
	}
	b.close()
	if after := countFDs(t); after != before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

// Clients that have gone are forgotten.
func TestIdleClientsAreForgotten(t *testing.T) {
	t.Parallel()
	b := newInbox()
	for i := range 100_000 {
		b.put(note(fmt.Sprint(":1.", i), "x", 0), nil)
		drain(b, func(*message) time.Duration { return time.Microsecond })
	}
	if n := len(b.clients); n > 1000 {
		t.Errorf("%d clients are remembered", n)
	}
}

// A client can have so many calls without an answer and no more; others can still call.
func TestOpenCallsAreBounded(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.do(func() { s.Add("/o", &thing{}, ifaceMain()) })
	r := newRaw(t, s.addr)
	var b []byte
	const more = 10
	first := r.serial + 1
	for range maxOpenCalls + more {
		b = r.append(b, call("Hold", ""), nil, 0)
	}
	if _, err := r.sock.Write(b); err != nil {
		t.Fatal(err)
	}
	for i := range uint32(more) {
		m := r.next()
		_, err := m.result()
		if m.replySerial != first+maxOpenCalls+i || err == nil || err.(dbus.Error).Name != errLimits {
			t.Fatalf("answer to %d: %v", m.replySerial-first, err)
		}
	}
	if err := client(t, s.addr).Object(testName, "/o").Call(mainName+".Echo", 0, "x").Err; err != nil {
		t.Error(err)
	}
	s.do(func() {
		for _, c := range data(s.Object("/o")).hold {
			c.Reply()
		}
	})
	for range maxOpenCalls {
		if _, err := r.next().result(); err != nil {
			t.Fatal(err)
		}
	}
	r.ping()
	s.do(func() {
		if s.open.all != 1 && s.open.all != 0 || len(s.open.of) > 1 {
			t.Errorf("%d calls are counted as open", s.open.all)
		}
	})
}
