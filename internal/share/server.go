package share

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
)

// queueLimits are those of one host: a second of 250 batches, and replies beside them.
var queueLimits = apiserver.QueueLimits{Messages: 1024, Bytes: 4 << 20, Adverts: 256, Notifications: 512, DropOldest: true}

// Server offers real proxies to other hosts. Its methods are goroutine-safe.
type Server struct {
	cfg Config
	wg  sync.WaitGroup

	mu     lockorder.Mutex[lockorder.ShareServer]
	closed bool
	warned bool // of plaintext
	up     map[*Proxy]bool
	over   map[int]<-chan struct{}     // by port: closed when the last one there has ended
	counts map[string]apiserver.Counts // by label: of hosts that are gone
}

// New makes a Server. It listens for no proxy yet.
func New(cfg Config) *Server {
	return &Server{cfg: cfg, up: map[*Proxy]bool{}, over: map[int]<-chan struct{}{}, counts: map[string]apiserver.Counts{}}
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
	return s.offer(&Proxy{
		id: info.ID, name: info.Name, port: port, rest: info.Rest,
		device: s.cfg.device(info, mac),
		minor:  info.minor(), psk: s.key(info),
	})
}

// key is what hosts need: the original's own for what is the original, unless another is configured. Home Assistant
// keeps the key of an entry whose address is changed.
func (s *Server) key(info Info) *[32]byte {
	if s.cfg.Original && s.cfg.PSK == nil {
		return info.PSK
	}
	return s.cfg.PSK
}

// offer begins to listen for p.
func (s *Server) offer(p *Proxy) (*Proxy, error) {
	p.srv, p.hosts, p.log = s, map[*apiserver.Session]*host{}, s.cfg.Log.With("proxy", p.label())
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	over := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		cancel()
		return nil, errors.New("cannot share a proxy: the sharing ends")
	}
	before := s.over[p.port]
	s.over[p.port], s.up[p] = over, true
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
func (s *Server) plaintext(p *Proxy, ip net.IP) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.warned || p.psk != nil || ip.IsLoopback() {
		return
	}
	s.warned = true
	s.cfg.Log.Warn("Shared proxies are offered without encryption: anybody on the network can use them; set share.noise_psk", "listen", s.cfg.Listen)
}

// label names what is shared: the real proxy, or all of them.
func (p *Proxy) label() string {
	if p.name == "" {
		return mergedName
	}
	return p.name
}
