package dbusobj

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"pgregory.net/rapid"
)

func nilCost(*message) time.Duration { return 0 }

// TestInboxModel compares the inbox, under any succession of calls, with lists: who sends is served in his order,
// nothing is lost or repeated, the counters are right, one at a time runs the loop, and where nobody does, Run was told
// if there is work or if it waits.
func TestInboxModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := newInbox()
		b.serve()
		want := map[string][]string{} // by sender; "" posted
		waits, n := 0, 0
		held := true // the loop is being run, by Run at first
		b.claim()
		client := rapid.SampledFrom([]string{":1.1", ":1.2", ":1.3", ":1.4"})
		spent := rapid.SampledFrom([]time.Duration{0, time.Microsecond, time.Millisecond, 50 * time.Millisecond})
		add := func(who string) string {
			n++
			what := fmt.Sprint(n)
			want[who] = append(want[who], what)
			waits++
			return what
		}
		var ran []string
		take := func(t *rapid.T) {
			it, ok := b.next(spent.Draw(t, "spent"))
			if ok != (waits > 0) {
				t.Fatalf("work: %v, %d wait", ok, waits)
			}
			if !ok {
				return
			}
			took := func(who, what string) {
				waits--
				if want[who][0] != what {
					t.Fatalf("%q: %s before %s", who, what, want[who][0])
				}
				want[who] = want[who][1:]
			}
			if it.msg != nil {
				took(it.msg.sender, it.msg.member)
				return
			}
			if n := len(it.funcs); n == 0 || n > postTurn {
				t.Fatalf("a turn of %d functions", n)
			}
			for _, f := range it.funcs {
				f()
				took("", ran[len(ran)-1])
			}
		}
		help := func(t *rapid.T) {
			if b.claimToHelp() {
				if held {
					t.Fatal("two run the loop")
				}
				held = true
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				who := client.Draw(t, "client")
				if ok, _ := b.put(note(who, add(who), rapid.IntRange(0, 100).Draw(t, "size")), nil); !ok {
					t.Fatal("refused")
				}
				help(t)
			},
			"post": func(t *rapid.T) {
				what, helps := add(""), rapid.Bool().Draw(t, "helps")
				b.post(func() { ran = append(ran, what) }, helps)
				if helps {
					help(t)
				}
			},
			"wake": func(t *rapid.T) { // of Run
				select {
				case <-b.wake:
				default:
					return
				}
				if b.claim() == held {
					t.Fatalf("it is run: %v, and Run was let in, or was not", held)
				}
				held = true
			},
			"next": func(t *rapid.T) {
				if held {
					take(t)
				}
			},
			"finish": func(*rapid.T) {
				if held {
					held = !b.finish()
				}
			},
			"leave": func(*rapid.T) {
				if held {
					b.leave()
					held = false
				}
			},
			"": func(t *rapid.T) {
				if !held && len(b.wake) == 0 && (waits > 0 || b.wanted) {
					t.Fatalf("%d wait, Run waits: %v, and nobody was told", waits, b.wanted)
				}
				queued, bytes := 0, 0
				for _, q := range b.clients {
					queued += q.len()
					for _, it := range q.items[q.head:] {
						bytes += it.msg.size()
					}
				}
				if queued+len(b.posts) != waits || queued != b.messages || bytes != b.bytes {
					t.Fatalf("%d messages of %d bytes and %d functions wait, of %d; counted %d and %d", queued, bytes, len(b.posts), waits, b.messages, b.bytes)
				}
			},
		})
		for waits > 0 {
			take(t)
		}
	})
}

// TestInboxStorm has posters, helpers, clients that send and the loop itself at work at once, as often as there is work
// for one to lose: each one's work is done in his order, all of it, by one at a time. At the end nobody is left to wake
// anybody: what waits then was lost.
func TestInboxStorm(t *testing.T) {
	t.Parallel()
	const sides, each = 6, 3000
	s := serve(t)
	main := ifaceMain()
	var running, total int // no lock: the loop's
	var last [2 * sides]int
	done := make(chan struct{})
	did := func(who, i int) {
		running++
		if running != 1 {
			t.Error("two run the loop")
		}
		if last[who] != i {
			t.Errorf("%d: %d after %d", who, i, last[who]-1)
		}
		last[who]++
		total++
		if total == 2*sides*each {
			close(done)
		}
		running--
	}
	note := &Interface{Name: "org.example.Storm", Methods: []Method{{Name: "Note", In: []Arg{{"who", "u"}, {"i", "u"}}, Call: func(c *Call) {
		did(sides+int(c.Body[0].(uint32)), int(c.Body[1].(uint32)))
		c.Object.Changed(main, "Number")
		c.Reply()
	}}}}
	s.do(func() { s.Add("/o", &thing{}, main, note) })
	var wg sync.WaitGroup
	for p := range sides {
		wg.Go(func() {
			for i := range each {
				if f := func() { did(p, i) }; p%3 == 0 {
					s.Post(f)
				} else {
					s.PostHelp(f)
				}
			}
		})
		r := newRaw(t, s.addr)
		wg.Go(func() {
			var b []byte
			for i := range uint32(each) {
				body, _, err := Marshal("uu", func(e *Encoder) { e.Uint32(uint32(p)); e.Uint32(i) })
				if err != nil {
					t.Error(err)
					return
				}
				o := call("Note", "uu")
				o.iface, o.typ, o.flags = "org.example.Storm", dbus.TypeMethodCall, flagNoReply
				b = r.append(b, o, body, 0)
				if len(b) > 10_000 || i == each-1 {
					if _, err := r.sock.Write(b); err != nil {
						t.Error(err)
						return
					}
					b = b[:0]
				}
			}
		})
	}
	wg.Wait()
	wait(t, done)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}
