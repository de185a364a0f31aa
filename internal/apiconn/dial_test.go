package apiconn

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func itoa(port uint16) string { return strconv.Itoa(int(port)) }

func TestDialTriesEveryAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var tried []string
		begun := time.Now()
		answer := func(target string) (net.Conn, error) {
			near, far := net.Pipe()
			_ = far.Close()
			if target == "192.0.2.2:6053" {
				return near, nil
			}
			_ = near.Close()
			return nil, errors.New("no route")
		}
		p, err := New(Config{
			Address: "kitchen.local", Handler: new(recorder),
			Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
				if host != "kitchen.local" {
					t.Errorf("resolved %q", host)
				}
				var out []netip.Addr
				for _, s := range []string{"0.0.0.0", "192.0.2.1", "192.0.2.2", "2001:db8::1", "::"} {
					out = append(out, netip.MustParseAddr(s))
				}
				return out, nil
			},
			Dial: func(ctx context.Context, _, target string) (net.Conn, error) {
				mu.Lock()
				tried = append(tried, time.Since(begun).String()+" "+target)
				mu.Unlock()
				if strings.HasPrefix(target, "192.0.2.1:") { // answers nothing
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return answer(target)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := p.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		want := []string{"0s [2001:db8::1]:6053", "0s 192.0.2.1:6053", "100ms 192.0.2.2:6053"}
		if !slices.Equal(tried, want) {
			t.Errorf("tried %q, want %q", tried, want)
		}
	})
}

func TestDialErrors(t *testing.T) {
	t.Parallel()
	fail := errors.New("broken")
	p, err := New(Config{
		Address: "nowhere", Handler: new(recorder),
		Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, fail },
	})
	if err != nil {
		t.Fatal(err)
	}
	var resolve *ResolveError
	if _, err := p.dial(t.Context()); !errors.As(err, &resolve) || !errors.Is(err, fail) {
		t.Errorf("got %v", err)
	}
	p.cfg.Resolve = func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{netip.IPv4Unspecified()}, nil }
	if _, err := p.dial(t.Context()); !errors.As(err, &resolve) {
		t.Errorf("got %v", err)
	}
}

func TestOverTCP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	b := newBench(t, func(c *Config) { c.Address, c.Dial = listener.Addr().String(), nil })
	started := make(chan error, 1) // one result; sockets don't go into a bubble
	go func() { started <- b.p.Start(t.Context()) }()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	far := &peer{t: t, conn: conn}
	far.f = newPlainPeer(conn)
	far.bringUp()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	b.stop(far)
}
