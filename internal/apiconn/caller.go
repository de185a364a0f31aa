package apiconn

import (
	"context"
	"net"
	"slices"
)

// Session is a session that its caller manages: the caller dials, and decides whether to dial again.
// It is one session of a Proxy by the same code, without the loop around it. The caller has three duties:
//
//  1. Run it: nothing is read between Open and Run, so Run has to follow within seconds.
//  2. In Handler.Online, make Proxy known to whatever scans and connects through it.
//  3. In Handler.Offline, mark it unavailable there and forget it: every link is gone. Then those
//     who asked by OnLost are told.
type Session struct {
	p *Proxy
	s *session
}

// Open brings a session up over conn, which it owns from then on: handshake, hello, device info, a look at the
// slots, but no subscription. Of cfg, Dial, Resolve and Pace are not used; Address may be empty. The errors
// are those of a Proxy's attempts; after one, everything is cleaned up.
func Open(ctx context.Context, conn net.Conn, cfg Config) (*Session, error) {
	if cfg.Address == "" {
		cfg.Address = "the caller's connection"
	}
	p, err := newProxy(cfg)
	if err != nil {
		_ = conn.Close() // of no use now
		return nil, err
	}
	_ = p.begin() // a new Proxy can be begun
	s := newSession(p, conn)
	p.attempting()
	if err := s.open(ctx); err != nil {
		p.setState(stateOf(err), err)
		close(p.ended)
		return nil, err
	}
	return &Session{p: p, s: s}, nil
}

// Proxy gives the operations and the state. Its Stop ends the session politely; Start and Run are not for it.
func (c *Session) Proxy() *Proxy { return c.p }

// Info is what the device said of itself.
func (c *Session) Info() Info { return c.s.info }

// Run subscribes and hands everything to the Handler until the session ends, ctx ends or Proxy.Stop is called; then
// it takes leave. It returns why the session ended, ErrStopped after the latter two, and is called once.
func (c *Session) Run(ctx context.Context) error {
	defer close(c.p.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-c.p.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := c.p.fault(c.s.serve(ctx))
	c.p.setState(stateOf(err), err)
	cancel()
	<-watched
	return err
}

// Close ends a session that is not Run.
func (c *Session) Close() {
	c.s.unhook()
	c.s.end(ErrStopped)
	close(c.p.ended)
}

// lostFunc is one function of OnLost.
type lostFunc struct{ f func(error) }

// OnLost has f called each time a session that was online has ended, after Handler.Offline, with the reason. f is
// called by the proxy's goroutine and must not block; it may add and remove functions: those that were there when the
// session ended are called, each once. remove takes it back.
func (p *Proxy) OnLost(f func(error)) (remove func()) {
	l := &lostFunc{f}
	p.mu.Lock()
	p.lost = append(p.lost, l)
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lost = slices.DeleteFunc(p.lost, func(m *lostFunc) bool { return l == m })
	}
}

func (p *Proxy) callLost(err error) {
	p.mu.Lock()
	list := slices.Clone(p.lost)
	p.mu.Unlock()
	for _, l := range list {
		l.f(err)
	}
}
