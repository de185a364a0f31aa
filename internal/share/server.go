package share

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
)

const (
	// maxHosts bounds the sessions with one shared proxy, those that have not yet said hello included.
	maxHosts = 64
	// listenAgain is how often a port that is taken is tried.
	listenAgain = 2 * time.Second
)

// queueLimits are those of one host: a second of 250 batches, and replies beside them.
var queueLimits = apiserver.QueueLimits{Messages: 1024, Bytes: 4 << 20, Adverts: 256, Notifications: 512, DropOldest: true}

// Server offers real proxies to other hosts. Its methods are goroutine-safe.
type Server struct {
	cfg Config
	wg  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	warned bool // of plaintext
	up     map[*Proxy]bool
	over   map[int]<-chan struct{} // by port: closed when the last one there has ended
}

// New makes a Server. It listens for no proxy yet.
func New(cfg Config) *Server {
	return &Server{cfg: cfg, up: map[*Proxy]bool{}, over: map[int]<-chan struct{}{}}
}

// Up offers a proxy that is online. The Proxy is to be ended by Down. An error says why it cannot be offered.
func (s *Server) Up(info Info) (*Proxy, error) {
	mac, err := ble.ParseAddress(info.MAC)
	if err != nil {
		return nil, fmt.Errorf("cannot share proxy %s: its MAC is %q: %w", info.Name, info.MAC, err)
	}
	index, ok := s.cfg.Index(mac)
	port := int(s.cfg.BasePort) + index
	if !ok || port > 65535 {
		return nil, fmt.Errorf("cannot share proxy %s: there is no port left above %d; lower share.base_port", info.Name, s.cfg.BasePort)
	}
	p := &Proxy{
		srv: s, name: info.Name, port: port, hosts: map[*apiserver.Session]*host{},
		device: info.device(nameOf(s.cfg.Names, info.Name), macOf(s.cfg.Identity, mac)),
		minor:  min(max(info.APIMinor, minMinor), maxMinor),
		log:    s.cfg.Log.With("proxy", info.Name),
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	over := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		cancel()
		return nil, errors.New("cannot share a proxy: the daemon stops")
	}
	before := s.over[port]
	s.over[port], s.up[p] = over, true
	s.wg.Go(func() {
		defer close(over)
		if before != nil {
			<-before
		}
		p.run(ctx)
	})
	return p, nil
}

// Close ends everything and waits for it.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for p := range s.up {
		p.cancel()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// plaintext warns once of a listener that anybody can use.
func (s *Server) plaintext(ip net.IP) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.warned || s.cfg.PSK != nil || ip.IsLoopback() {
		return
	}
	s.warned = true
	s.cfg.Log.Warn("Shared proxies are offered without encryption: anybody on the network can use them; set share.noise_psk", "listen", s.cfg.Listen)
}

// listen waits until the port is to be had.
func (p *Proxy) listen(ctx context.Context) (*net.TCPListener, error) {
	var lc net.ListenConfig
	for warned := false; ; warned = true {
		ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(p.srv.cfg.Listen, strconv.Itoa(p.port)))
		if err == nil {
			return ln.(*net.TCPListener), nil
		}
		if !warned && ctx.Err() == nil {
			p.log.Error("Cannot share the proxy yet", "error", err)
		}
		t := time.NewTimer(listenAgain)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, context.Cause(ctx)
		case <-t.C:
		}
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
	p.log.Info("The proxy is shared", "name", p.device.Name, "address", addr.String(), "encrypted", p.srv.cfg.PSK != nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	if p.srv.cfg.Announce != nil && !addr.IP.IsLoopback() {
		svc := Service{Name: p.device.Name, Port: uint16(addr.Port), Text: text(p.device, p.srv.cfg.PSK != nil)}
		if !addr.IP.IsUnspecified() {
			svc.IP = addr.IP.String()
		}
		wg.Go(func() { p.srv.cfg.Announce(ctx, svc) })
	}
	slots := make(chan struct{}, maxHosts)
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
			t := time.NewTimer(listenAgain)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
			continue
		}
		select {
		case slots <- struct{}{}:
		default: // as a device with too many clients does
			p.log.Warn("Too many hosts share the proxy", "host", conn.RemoteAddr().String())
			_ = conn.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			err := apiserver.Serve(ctx, conn, p.session(), p)
			p.log.Debug("Session with a host ended", "error", err)
		})
	}
}

func (p *Proxy) session() apiserver.Config {
	return apiserver.Config{
		Device: func() apiserver.Device { return p.device }, PSK: p.srv.cfg.PSK, APIMinor: p.minor,
		ServerInfo: "bluez-esphome (ESPHome " + p.device.ESPHomeVersion + ")",
		// Clients up to 2025 wait for an answer to message 3, later ones do not mind it.
		AuthOnHello: true, AnswerAuth: true,
		Queue: queueLimits, Log: p.log,
	}
}
