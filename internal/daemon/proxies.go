package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/scanner"

	"github.com/godbus/dbus/v5"
)

// A proxySet is all configured proxies. It passes what they say to the air and to the
// links, and tells them in which mode to scan.
type proxySet struct {
	d      *Daemon
	iface  *dbusobj.Interface
	finder *finder

	mu     sync.Mutex
	list   []*proxy           // see all
	ctx    context.Context    // of the work, for proxies that join later; nil before start
	policy scanner.ModePolicy // of the merged adapter
	names  map[string]*proxy  // by the name that the other packages know
}

// A proxy is one configured proxy.
type proxy struct {
	*apiconn.Proxy
	set *proxySet
	cfg config.Proxy
	obj proxyObject

	mode chan struct{} // capacity 1: the wish may have changed

	auto     string // the instance by which auto_add found it, "" for configured ones
	unfollow func() // ends followMode

	telling sync.Mutex // keeps what hosts are told of the proxy in order; taken before mu

	mu     sync.Mutex
	own    *ownAdapter // nil without one, and before it was online
	name   string      // unique; empty until the first session if none is configured
	info   apiconn.Info
	up     bool // between Online and Offline
	scan   scan
	known  bool // scan is known
	heard  time.Time
	shared shared // nil: offline, or not shared
}

// Name overrides the session's: two proxies may call themselves the same.
func (p *proxy) Name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

// ownAdapter is the proxy's own, or nil.
func (p *proxy) ownAdapter() *ownAdapter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.own
}

// each calls f for the views that the proxy feeds.
func (p *proxy) each(f func(*scanner.Table)) {
	f(p.set.d.table)
	if own := p.ownAdapter(); own != nil {
		f(own.table)
	}
}

func newProxySet(d *Daemon) (*proxySet, error) {
	s := &proxySet{d: d, names: map[string]*proxy{}}
	cfg := d.opts.Config
	s.iface, s.finder = newProxyInterface(), newFinder(s, cfg)
	for _, pc := range cfg.Proxies {
		p, err := s.make(pc)
		if err != nil {
			return nil, err
		}
		if pc.Name != "" {
			s.names[pc.Name] = p
		}
		p.obj.publish(d.conn, p, s.iface)
		s.list = append(s.list, p)
	}
	return s, nil
}

func (p *proxy) session(d *Daemon) (*apiconn.Proxy, error) {
	cfg, pc := d.opts.Config, p.cfg
	ac := apiconn.Config{
		Name: pc.Name, Address: hostPort(pc), Password: pc.Password.Reveal(), ClientInfo: "bluez-esphome " + d.opts.Version,
		PingAfter: cfg.Link.PingAfter, DeadAfter: cfg.Link.DeadAfter,
		Logger: d.log, Handler: handler{p},
	}
	if pc.PSK.IsSet() {
		key := pc.PSK.Key()
		ac.PSK = &key
	}
	if pc.HasMAC {
		ac.ExpectMAC = pc.MAC.String()
	}
	switch pc.ScanMode {
	case config.ScanActive:
		ac.ScanMode = apiconn.ScanActive
	case config.ScanPassive:
		ac.ScanMode = apiconn.ScanPassive
	}
	if pc.OnConflict == config.ConflictRetake {
		ac.OnConflict = apiconn.Retake
	}
	p.set.finder.configure(p, &ac)
	return apiconn.New(ac)
}

// start connects all proxies in the background; ctx ends the work on scan modes, stop the sessions.
func (s *proxySet) start(ctx context.Context) {
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	for _, p := range s.all() {
		s.launch(ctx, p)
	}
	go s.finder.run(ctx)
}

// stop ends all sessions at once, each cleanly if ctx lets it.
func (s *proxySet) stop(ctx context.Context) {
	var wg sync.WaitGroup
	for _, p := range s.all() {
		wg.Go(p.Stop)
	}
	stopped := make(chan struct{})
	go func() {
		wg.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
	}
}

// path is the object of the proxy with that name.
func (s *proxySet) path(name string) dbus.ObjectPath {
	s.mu.Lock()
	p := s.names[name]
	s.mu.Unlock()
	if p == nil {
		return proxyPath(name)
	}
	return p.obj.obj.Path()
}

// adopt gives a proxy that is online for the first time its unique name.
func (s *proxySet) adopt(p *proxy, own string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.name != "" {
		return
	}
	name := own
	if name == "" {
		name = hostPort(p.cfg)
	}
	for i := 2; s.names[name] != nil; i++ {
		name = fmt.Sprintf("%s-%d", own, i)
	}
	p.name = name
	s.names[name] = p
}
