package proxysim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"bluez-esphome/internal/apiserver"
)

// Reasons for which a simulated proxy ends a connection of itself.
var (
	errTooManyClients = errors.New("there are too many API clients")
	errRestarted      = errors.New("the proxy restarted")
	errRefused        = errors.New("the proxy refuses connections")
	errAsleep         = errors.New("the proxy sleeps")
	errLost           = errors.New("the connection was lost")
)

// Serve accepts API clients from ln until ctx ends, and closes ln.
func (p *Proxy) Serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	outer := ctx // ends before what closes ln; ctx may end after it
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for {
		conn, err := ln.Accept()
		if err != nil {
			_ = ln.Close()
			if outer.Err() != nil {
				return context.Cause(outer)
			}
			return fmt.Errorf("cannot accept clients of proxy %s: %w", p.cfg.Name, err)
		}
		wg.Go(func() {
			err := p.ServeConn(ctx, conn)
			p.log.Debug("client gone", "error", err)
		})
	}
}

// ServeConn serves one API client on conn until it leaves or ctx ends, and
// closes conn. The error says why it ended and is never nil.
func (p *Proxy) ServeConn(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &client{Conn: conn, faults: &p.faults, cancel: cancel, done: ctx.Done()}
	if err := p.admit(c); err != nil {
		_ = conn.Close()
		return err
	}
	defer p.discharge(c)
	if p.faults.fault() == FaultSilent {
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer stop()
		return c.discard()
	}
	return apiserver.Serve(ctx, c, p.sessionConfig(), p)
}

// admit counts a client in; a device with too many closes without a word.
func (p *Proxy) admit(c *client) error {
	if p.faults.fault() == FaultRefuse {
		return errRefused
	}
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	if len(p.clients) >= p.cfg.MaxClients {
		p.log.Warn("too many API clients")
		return errTooManyClients
	}
	if p.clients == nil {
		p.clients = map[*client]bool{}
	}
	p.clients[c] = true
	return nil
}

func (p *Proxy) discharge(c *client) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	delete(p.clients, c)
}

// Opened implements apiserver.Backend.
func (p *Proxy) Opened(s *apiserver.Session) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	p.sessions[s] = &interest{}
	p.log.Info("client connected", "client", s.ClientName())
}

// Closed implements apiserver.Backend. The links of a subscriber that is gone are closed at the next tick.
func (p *Proxy) Closed(s *apiserver.Session) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	p.unsubscribe(s)
	delete(p.sessions, s)
	p.log.Info("client disconnected", "client", s.ClientName())
}

// Restart does what a reboot does: every client and link is lost, the scan mode
// is the configured one again, bonds and a key that was set stay. For down, new connections are refused.
func (p *Proxy) Restart(down time.Duration) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	p.restart(down)
}

func (p *Proxy) restart(down time.Duration) {
	p.halt(errRestarted)
	p.off = false
	if down > 0 {
		p.SetFault(FaultRefuse)
		p.air.sched.after(down, func() { p.SetFault(FaultNone) })
	}
	p.startScan()
	p.openWindow()
	p.scheduleSleep()
}

// PowerOff takes the power from the proxy: its radio falls silent and its connections stay open without
// anything passing, as when a plug is pulled. Restart, after SetFault(FaultNone), brings it back.
func (p *Proxy) PowerOff() {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	p.SetFault(FaultHalfOpen)
	p.halt(nil)
	p.off = true
}

// halt forgets what a device does not keep, and ends the API connections unless why is nil.
func (p *Proxy) halt(why error) {
	p.feed = feed{}
	if why != nil {
		for c := range p.clients {
			c.cancel(why)
		}
	}
	for _, c := range p.conns {
		c.stopTimer()
		c.dropLink()
	}
	p.slotTable = newSlotTable(p.cfg.Slots)
	p.air.sched.stop(p.scan.event)
	p.scan = scan{mode: p.configuredMode()}
	p.air.sched.stop(p.sleep)
	p.sleep = nil
}

// DropClients ends every API connection at once, as when the network fails and returns.
func (p *Proxy) DropClients() {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	for c := range p.clients {
		c.cancel(errLost)
	}
}

// Drain waits until what the proxies sent their subscribers so far was
// handed to the connections, so that nothing older follows; ctx bounds it.
func (a *Air) Drain(ctx context.Context) {
	a.sched.mu.Lock()
	var waits []<-chan struct{}
	for _, p := range a.proxies {
		p.tell(func(s *apiserver.Session) { waits = append(waits, s.Drained()) })
	}
	a.sched.mu.Unlock()
	for _, w := range waits {
		select {
		case <-ctx.Done():
			return
		case <-w:
		}
	}
}

var _ apiserver.OtherBackend = (*Proxy)(nil)

var _ linkHost = (*connection)(nil)
