package web

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"bluez-esphome/internal/lockorder"
)

// A door lets connections in, a number of them at a time, and fewer of one address that is not this host's. When there is no place, the
// connection goes that has been without an answer under way for longest: whoever holds connections, idle or half asked, keeps
// nobody out who asks at once, as health checks do. It is goroutine-safe.
type door struct {
	net.Listener
	max, perAddress int

	mu  lockorder.Mutex[lockorder.Leaf]
	all map[*visit]struct{}
}

// A visit is one connection.
type visit struct {
	net.Conn
	door *door
	from string // address without port; "" for this host's
	once sync.Once

	// Under door.mu.
	idle time.Time // since when no answer is under way
	busy int       // answers under way
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
		}
		if ok {
			return v, nil
		}
		_ = c.Close()
	}
}

// enter takes a place, perhaps that of another connection, which is returned; false if there is none to be had.
func (d *door) enter(v *visit) (out *visit, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	same, anyOf, sameOf := 0, (*visit)(nil), (*visit)(nil)
	for o := range d.all {
		longer := func(than *visit) bool { return o.busy == 0 && (than == nil || o.idle.Before(than.idle)) }
		if longer(anyOf) {
			anyOf = o
		}
		if v.from != "" && o.from == v.from {
			if same++; longer(sameOf) {
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

// counted keeps connections with an answer under way from making room, and bounds the answers under way, but for those of health
// checks: they are short.
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
	v.idle = time.Now()
}
