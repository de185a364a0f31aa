package web

import (
	"context"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"bluez-esphome/internal/lockorder"

	"golang.org/x/sys/unix"
)

// A door bounds the number of connections, and more tightly the number from one address that is not this host's. When
// all places are taken, a new connection takes the place of the one that has had no answer under way for longest;
// connections that ask for nothing go first. However many connections are idle or have sent half of a request, they
// therefore do not keep out a client that asks at once, such as a health check. A door is goroutine-safe.
type door struct {
	net.Listener
	max, perAddress int

	mu  lockorder.Mutex[lockorder.Leaf]
	all map[*visit]struct{}
}

// stay is the pause after a connection took the place of another one. However fast connections come, each of them keeps
// its place for this time multiplied by the number of places; the others wait in the kernel's queue.
const stay = 2 * time.Millisecond

// A visit is one connection.
type visit struct {
	net.Conn
	door *door
	from string // address without port; "" for this host's
	once sync.Once

	// Under door.mu.
	idle     time.Time // since when no answer is under way
	busy     int       // answers under way
	asked    bool      // something was read since the last answer left
	answered bool      // an answer was made; the next Read means that it has left
}

func newDoor(l net.Listener, most, perAddress int) *door {
	return &door{Listener: l, max: most, perAddress: perAddress, all: map[*visit]struct{}{}}
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		v := &visit{Conn: c, door: d, idle: time.Now()}
		if a, ok := c.RemoteAddr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
			v.from = a.IP.String()
		}
		out, ok := d.enter(v)
		if out != nil {
			_ = out.Close()
			time.Sleep(stay)
		}
		if ok {
			return v, nil
		}
		_ = c.Close()
	}
}

// enter takes a place for v. out is the connection that had it before, if any; ok is false if v gets no place.
func (d *door) enter(v *visit) (out *visit, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	same, anyOf, sameOf := 0, (*visit)(nil), (*visit)(nil)
	for o := range d.all {
		longer := func(than *visit) bool { return o.busy == 0 && (than == nil || o.before(than)) }
		if longer(anyOf) {
			anyOf = o
		}
		if v.from != "" && o.from == v.from {
			same++
			if longer(sameOf) {
				sameOf = o
			}
		}
	}
	switch {
	case same >= d.perAddress:
		out = sameOf
	case len(d.all) >= d.max:
		out = anyOf
	default:
		d.all[v] = struct{}{}
		return nil, true
	}
	if out == nil {
		return nil, false
	}
	delete(d.all, out)
	d.all[v] = struct{}{}
	return out, true
}

// before reports whether v loses its place before o does. door.mu is held.
func (v *visit) before(o *visit) bool {
	if a, b := v.asks(), o.asks(); a != b {
		return b
	}
	return v.idle.Before(o.idle)
}

// asks reports whether an unanswered request, or a part of one, has come. door.mu is held.
func (v *visit) asks() bool {
	if v.asked {
		return true
	}
	c, ok := v.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) { // it fails for a closed connection, which asks for nothing
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		v.asked = err == nil && n > 0
	})
	return v.asked
}

// Read implements net.Conn.
func (v *visit) Read(b []byte) (int, error) {
	v.door.mu.Lock()
	if v.answered {
		v.idle, v.asked, v.answered = time.Now(), false, false
	}
	v.door.mu.Unlock()
	n, err := v.Conn.Read(b)
	if n > 0 {
		v.door.mu.Lock()
		v.asked = true
		v.door.mu.Unlock()
	}
	return n, err
}

// Close implements net.Conn.
func (v *visit) Close() error {
	v.once.Do(func() {
		v.door.mu.Lock()
		defer v.door.mu.Unlock()
		delete(v.door.all, v)
	})
	return v.Conn.Close()
}

type visitKey struct{}

// remember puts a connection into the context of its requests; see http.Server.ConnContext.
func (d *door) remember(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, visitKey{}, c)
}

// counted marks the connections with an answer under way, which keep their places, and bounds the number of answers
// under way. It does not bound the answers to health checks, which are short.
func (d *door) counted(next http.Handler, most int) http.Handler {
	places := make(chan struct{}, most)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
			select {
			case places <- struct{}{}:
				defer func() { <-places }()
			default:
				w.Header().Set("Retry-After", "10")
				http.Error(w, "Too many requests at a time.", http.StatusServiceUnavailable)
				return
			}
		}
		if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
			d.answering(v, 1)
			defer d.answering(v, -1)
		}
		next.ServeHTTP(w, r)
	})
}

func (d *door) answering(v *visit, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v.busy += n
	v.idle, v.answered = time.Now(), n < 0
}
