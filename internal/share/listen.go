package share

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"bluez-esphome/internal/apiserver"
)

const (
	// maxHosts bounds the hosts of one shared proxy.
	maxHosts = 64
	// maxStrangers bounds the connections to one shared proxy that have not yet shown the key and said hello. The oldest
	// makes room for the newest, so that whoever opens connections and says nothing keeps no host away.
	maxStrangers = 16
	// listenAgain is how often a port that is taken is tried.
	listenAgain = 2 * time.Second
)

// listen waits until the port is to be had.
func (p *Proxy) listen(ctx context.Context) (*net.TCPListener, error) {
	var lc net.ListenConfig
	for warned := false; ; warned = true {
		ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(p.srv.cfg.Listen, strconv.Itoa(p.port)))
		if err == nil {
			return ln.(*net.TCPListener), nil
		}
		if !warned && ctx.Err() == nil {
			p.log.Error("Cannot share the proxy yet", "error", err, "remedy", remedy(err))
		}
		if !pause(ctx) {
			return nil, context.Cause(ctx)
		}
	}
}

// remedy says what helps where a port is not to be had. It is tried again in any case.
func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program has the port: stop it, or change share.base_port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "share.listen is no address of this host: correct it, or take 0.0.0.0"
	case errors.Is(err, syscall.EACCES):
		return "ports below 1024 are for root: raise share.base_port"
	}
	return "look at share.listen and share.base_port"
}

// pause waits a little, and reports false if ctx ended.
func pause(ctx context.Context) bool {
	t := time.NewTimer(listenAgain)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// run offers the proxy until ctx ends.
func (p *Proxy) run(ctx context.Context) {
	ln, err := p.listen(ctx)
	if err != nil {
		return
	}
	addr := ln.Addr().(*net.TCPAddr)
	p.srv.plaintext(addr.IP)
	p.mu.Lock()
	p.address = addr.String()
	device := p.device
	p.mu.Unlock()
	p.log.Info("The proxy is shared", "name", device.Name, "address", addr.String(), "encrypted", p.srv.cfg.PSK != nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	if p.srv.cfg.Announce != nil && !addr.IP.IsLoopback() {
		svc := Service{Name: device.Name, Port: uint16(addr.Port), Text: text(device, p.srv.cfg.PSK != nil)}
		if !addr.IP.IsUnspecified() {
			svc.IP = addr.IP.String()
		}
		wg.Go(func() { p.srv.cfg.Announce(ctx, svc) })
	}
	var door door
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil { // no descriptors left, or the like
			p.log.Warn("Cannot accept a host", "error", err)
			pause(ctx)
			continue
		}
		if p.srv.cfg.Wrap != nil {
			conn = p.srv.cfg.Wrap(conn)
		}
		s := door.knock(conn)
		wg.Go(func() {
			defer door.leave(s)
			err := apiserver.Serve(ctx, conn, p.session(), guest{p, func() { door.leave(s) }})
			p.log.Debug("Session with a host ended", "error", err)
		})
	}
}

func (p *Proxy) session() apiserver.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return apiserver.Config{
		Device: p.said, PSK: p.srv.cfg.PSK, APIMinor: p.minor,
		ServerInfo: "bluez-esphome (ESPHome " + p.device.ESPHomeVersion + ")",
		// Clients up to 2025 wait for an answer to message 3, later ones do not mind it.
		AuthOnHello: true, AnswerAuth: true,
		Queue: queueLimits, Log: p.log,
	}
}

// said is what hosts are told of the device now.
func (p *Proxy) said() apiserver.Device {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.device
}

// guest is the backend of one session: who says hello is no stranger any more.
type guest struct {
	*Proxy
	entered func()
}

func (g guest) Opened(s *apiserver.Session) {
	g.entered()
	g.Proxy.Opened(s)
}

// door is the connections of strangers, the oldest first.
type door struct {
	mu   sync.Mutex
	list []*stranger
}

type stranger struct{ conn net.Conn }

// knock lets a connection in, if need be in place of the oldest.
func (d *door) knock(conn net.Conn) *stranger {
	s := &stranger{conn}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) >= maxStrangers {
		_ = d.list[0].conn.Close() // which ends its session
		d.list = d.list[1:]
	}
	d.list = append(d.list, s)
	return s
}

// leave forgets a stranger that said hello or is gone.
func (d *door) leave(s *stranger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, t := range d.list {
		if t == s {
			d.list = append(d.list[:i:i], d.list[i+1:]...)
			return
		}
	}
}
