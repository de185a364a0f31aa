package firmware

import (
	"net"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire"

	"google.golang.org/protobuf/proto"
)

// frame is one message of the native API on its way from a proxy to the daemon.
type frame struct {
	id      apiwire.ID
	payload []byte
	after   time.Duration // how late it arrives
}

// relay is between the daemon and a plaintext proxy, and changes what the proxy says.
type relay struct {
	// down says what becomes of a message from the proxy; nil passes all. It is called by one goroutine per connection.
	down func(r *relay, f frame) []frame
	// up sees the daemon's messages.
	up func(m proto.Message)

	mu   sync.Mutex // guards the following
	conn net.Conn   // the newest to the daemon
	n    int        // for down's own use
}

// count counts up and returns the count, from 1.
func (r *relay) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	return r.n
}

// listen starts to pass connections on to target.
func (r *relay) listen(t testing.TB, target string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.pass(conn, target) })
		}
	})
	return ln.Addr().String()
}

func (r *relay) pass(near net.Conn, target string) {
	defer near.Close()
	far, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer far.Close()
	r.mu.Lock()
	r.conn = near
	r.mu.Unlock()
	upward := make(chan struct{})
	go func() {
		defer close(upward)
		defer far.Close()
		in := apiwire.NewPlain(near)
		for {
			id, payload, err := in.Read()
			if err != nil {
				return
			}
			if r.up != nil && apiwire.New(id) != nil {
				if m, err := apiwire.Unmarshal(id, payload); err == nil {
					r.up(m)
				}
			}
			if !send(far, frame{id: id, payload: payload}) {
				return
			}
		}
	}()
	in := apiwire.NewPlain(far)
	for {
		id, payload, err := in.Read()
		if err != nil {
			break
		}
		out := []frame{{id: id, payload: append([]byte(nil), payload...)}}
		if r.down != nil {
			out = r.down(r, out[0])
		}
		r.write(near, out)
	}
	near.Close()
	<-upward
}

func (r *relay) write(conn net.Conn, frames []frame) {
	for _, f := range frames {
		if f.after > 0 {
			time.AfterFunc(f.after, func() { r.write(conn, []frame{{id: f.id, payload: f.payload}}) })
			continue
		}
		r.mu.Lock()
		send(conn, f)
		r.mu.Unlock()
	}
}

// inject sends the daemon messages that no proxy sent.
func (r *relay) inject(messages ...proto.Message) {
	r.mu.Lock()
	conn := r.conn
	r.mu.Unlock()
	for _, m := range messages {
		r.write(conn, []frame{pack(m)})
	}
}

func send(conn net.Conn, f frame) bool {
	b, err := apiwire.NewPlain(nil).Append(nil, f.id, f.payload)
	if err == nil {
		_, err = conn.Write(b)
	}
	return err == nil
}

// pack encodes a message as the firmware does.
func pack(m proto.Message) frame {
	payload, err := apiwire.MarshalFirmware(m)
	if err != nil {
		panic(err)
	}
	return frame{id: apiwire.IDOf(m), payload: payload}
}

// edit makes a hook that changes messages of one type; a nil result drops them.
func edit[M proto.Message](change func(r *relay, m M) []proto.Message) func(*relay, frame) []frame {
	var zero M
	want := apiwire.IDOf(zero)
	return func(r *relay, f frame) []frame {
		if f.id != want {
			return []frame{f}
		}
		m, err := apiwire.Unmarshal(f.id, f.payload)
		if err != nil {
			return []frame{f}
		}
		var out []frame
		for _, m := range change(r, m.(M)) {
			out = append(out, pack(m))
		}
		return out
	}
}

// drop loses the messages for which when holds.
func drop(id apiwire.ID, when func(n int) bool) func(*relay, frame) []frame {
	return func(r *relay, f frame) []frame {
		if f.id == id && when(r.count()) {
			return nil
		}
		return []frame{f}
	}
}
