package apiconn

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"time"
)

const (
	resolveTimeout = 30 * time.Second
	dialTimeout    = 20 * time.Second // five tries of TCP
	// kickAfter is how long an attempt to connect may take before a sign of life of the device makes us dial anew.
	kickAfter = 2 * time.Second
	// dialStagger is the time between the first dial of one address and that of the next.
	dialStagger = 100 * time.Millisecond
	// maxAddresses bounds what a resolver may make us dial.
	maxAddresses = 16
	// receiveBuffer lets the kernel hold several seconds of a busy proxy's adverts.
	receiveBuffer = 2 << 20
)

// dial resolves the proxy's name anew and connects to the first of its addresses that answers.
func (p *Proxy) dial(ctx context.Context) (net.Conn, error) {
	addrs, err := p.resolve(ctx)
	if err != nil {
		return nil, &ResolveError{Host: p.host, Err: err}
	}
	if p.cfg.Pace != nil {
		if err := p.cfg.Pace(ctx); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := p.dialAny(ctx, addrs)
	if err != nil {
		return nil, &DialError{Target: net.JoinHostPort(p.host, strconv.Itoa(int(p.port))), Err: err}
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(receiveBuffer) // the kernel may give less
	}
	return conn, nil
}

func (p *Proxy) resolve(ctx context.Context) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(p.host); err == nil {
		return []netip.Addr{a}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := p.cfg.Resolve(ctx, p.host)
	if err != nil {
		return nil, err
	}
	addrs := interleave(found)
	if len(addrs) == 0 {
		return nil, errors.New("no usable address")
	}
	return addrs, nil
}

// interleave drops unusable addresses and alternates the families, IPv6 first.
func interleave(found []netip.Addr) []netip.Addr {
	var v6, v4, out []netip.Addr
	for _, a := range found {
		a = a.Unmap()
		switch {
		case !a.IsValid() || a.IsUnspecified():
		case a.Is4():
			v4 = append(v4, a)
		default:
			v6 = append(v6, a)
		}
	}
	for i := range max(len(v6), len(v4)) {
		if i < len(v6) {
			out = append(out, v6[i])
		}
		if i < len(v4) {
			out = append(out, v4[i])
		}
	}
	return out[:min(len(out), maxAddresses)]
}

// dialAny tries the addresses one after another, the next as soon as one failed or had its
// stagger, and returns the first connection. No attempt outlives the call.
func (p *Proxy) dialAny(ctx context.Context, addrs []netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	start := func(a netip.Addr) {
		target := net.JoinHostPort(a.String(), strconv.Itoa(int(p.port)))
		conn, err := p.cfg.Dial(ctx, "tcp", target)
		results <- result{conn, err}
	}
	stagger := time.NewTimer(0)
	defer stagger.Stop()
	var winner net.Conn
	var errs []error
	begun := time.Now()
	for next, running := 0, 0; running > 0 || winner == nil && next < len(addrs); {
		due := stagger.C
		if winner != nil || next == len(addrs) {
			due = nil
		}
		select {
		case <-due:
			go start(addrs[next])
			next, running = next+1, running+1
			stagger.Reset(dialStagger)
		case <-p.kick:
			if winner == nil && time.Since(begun) >= kickAfter {
				errs = append(errs, errKicked)
				next = len(addrs)
				cancel()
			}
		case r := <-results:
			running--
			switch {
			case r.err != nil:
				errs = append(errs, r.err)
				stagger.Reset(0)
			case winner == nil:
				winner = r.conn
				cancel()
			default:
				_ = r.conn.Close() // it came second
			}
		}
	}
	if winner == nil {
		return nil, errors.Join(errs...)
	}
	return winner, nil
}

// errKicked ends an attempt that is made anew, since the device gave a sign of life.
var errKicked = errors.New("the proxy gave a sign of life")
