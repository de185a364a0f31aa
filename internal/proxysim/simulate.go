package proxysim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"bluez-esphome/internal/mdns"

	"golang.org/x/sync/errgroup"
)

// Options are what a simulation consists of.
type Options struct {
	Peripherals []DeviceSpec
	Proxies     []ProxySpec // of different names; all share one air
	// ControlDir, unless empty, is where ControlServer opens its sockets.
	ControlDir string
	// Ready, unless nil, is called by Simulate once every proxy listens.
	Ready func(*Simulation)
	// Announce, unless nil, lists the interfaces on which the proxies that listen announce themselves
	// by multicast DNS.
	Announce func() ([]net.Interface, error)
	Log      *slog.Logger // must not be nil
}

// Simulation is an air with proxies that listen on TCP.
type Simulation struct {
	air       *Air
	proxies   []*Proxy
	listeners []net.Listener // nil for a proxy without
	control   *ControlServer
	announcer *mdns.Responder // nil without
}

// New opens everything that a simulation listens on. Run has to follow, or Close.
func New(opts Options) (*Simulation, error) {
	air, err := NewAir(opts.Peripherals)
	if err != nil {
		return nil, err
	}
	s := &Simulation{air: air}
	for _, spec := range opts.Proxies {
		if spec.Log == nil {
			spec.Log = opts.Log
		}
		p, err := NewProxy(air, spec.ProxyConfig)
		if err != nil {
			s.Close()
			return nil, err
		}
		var ln net.Listener
		if spec.Listen != "" {
			ln, err = net.Listen("tcp", spec.Listen)
			if err != nil {
				s.Close()
				return nil, fmt.Errorf("cannot listen for clients of proxy %s: %w", p.Name(), err)
			}
		}
		s.proxies = append(s.proxies, p)
		s.listeners = append(s.listeners, ln)
	}
	if opts.Announce != nil {
		s.announcer = mdns.NewResponder(s.announcements(), opts.Announce, opts.Log)
	}
	if opts.ControlDir != "" {
		s.control, err = NewControlServer(air, opts.ControlDir, opts.Log)
		if err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// Simulate runs a simulation until ctx ends, which is no error.
func Simulate(ctx context.Context, opts Options) error {
	s, err := New(opts)
	if err != nil {
		return err
	}
	if opts.Ready != nil {
		opts.Ready(s)
	}
	return s.Run(ctx)
}

// Run runs the simulation until ctx ends, which is no error.
func (s *Simulation) Run(ctx context.Context) error {
	outer := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.air.Run(ctx) })
	for i, ln := range s.listeners {
		if ln != nil {
			g.Go(func() error { return s.proxies[i].Serve(ctx, ln) })
		}
	}
	if s.control != nil {
		g.Go(func() error { return s.control.Run(ctx) })
	}
	if s.announcer != nil {
		g.Go(func() error { return s.announcer.Run(ctx) })
	}
	err := g.Wait()
	if cause := context.Cause(outer); cause != nil && (errors.Is(err, cause) || err == nil) {
		return nil
	}
	return err
}

// Close closes what New opened, without Run.
func (s *Simulation) Close() {
	for _, ln := range s.listeners {
		if ln != nil {
			_ = ln.Close()
		}
	}
	if s.control != nil {
		s.control.Close()
	}
}

// Air is the air that the proxies share.
func (s *Simulation) Air() *Air { return s.air }

// Proxies lists the proxies in the order of the options.
func (s *Simulation) Proxies() []*Proxy { return s.proxies }

// Proxy is the proxy of that name, or nil.
func (s *Simulation) Proxy(name string) *Proxy {
	for _, p := range s.proxies {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

// Addr is where a proxy listens, or nil.
func (s *Simulation) Addr(name string) net.Addr {
	for i, p := range s.proxies {
		if p.Name() == name && s.listeners[i] != nil {
			return s.listeners[i].Addr()
		}
	}
	return nil
}
