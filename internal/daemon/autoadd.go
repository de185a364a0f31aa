package daemon

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/mdns"
)

const (
	// esphomeService is what devices with ESPHome's native API announce.
	esphomeService = "_esphomelib._tcp"
	// attemptEvery spaces out the attempts to reach proxies: two hundred come back within two seconds.
	attemptEvery = 10 * time.Millisecond
	// autoGone is how long an added proxy that is offline may not be announced before it is dropped; it is
	// asked for every five minutes.
	autoGone  = 15 * time.Minute
	autoCheck = time.Minute
	// maxAuto bounds how many proxies strangers can make us use.
	maxAuto = 256
)

// A finder is the part of multicast DNS in the daemon: names, signs of life, and auto_add.
type finder struct {
	s     *proxySet
	pacer *apiconn.Pacer
	mdns  *mdns.Client // nil where no name needs it
	auto  *config.AutoAdd
	done  chan struct{} // closed when run has ended

	mu    sync.Mutex
	added map[string]*added // by instance; also those that are no proxies
	ended bool
}

// added is an instance that auto_add looked at.
type added struct {
	p       *proxy // nil once it proved to be of no use
	release string // what it was then: another version may be of use
	seen    time.Time
}

// newFinder makes the finder; it is silent unless a proxy has a local name or all are to be used.
func newFinder(s *proxySet, cfg *config.Config) *finder {
	f := &finder{s: s, pacer: apiconn.NewPacer(attemptEvery), done: make(chan struct{}), auto: cfg.AutoAdd, added: map[string]*added{}}
	local := cfg.AutoAdd != nil
	for _, p := range cfg.Proxies {
		local = local || mdns.Local(p.Host)
	}
	if local {
		f.mdns = mdns.New(mdns.Config{Service: esphomeService, Interfaces: s.d.opts.Interfaces, Alive: f.alive, Found: f.found, Logger: s.d.log})
	}
	return f
}

// configure completes what a session needs of the network.
func (f *finder) configure(p *proxy, c *apiconn.Config) {
	c.Pace = f.pacer.Wait
	c.Changed = func() {
		p.obj.changed("State", "LastError")
		p.slotsChanged()
	}
	if f.mdns != nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return f.mdns.Resolve(ctx, net.DefaultResolver, host)
		}
	}
}

// run serves until ctx ends.
func (f *finder) run(ctx context.Context) {
	defer close(f.done)
	if f.mdns == nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { f.mdns.Run(ctx) })
	ticker := time.NewTicker(autoCheck)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			f.dropGone(time.Now())
		}
	}
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	wg.Wait()
}

// alive kicks the proxies whose name was heard. Those with an IP address have none.
func (f *finder) alive(name string) {
	for _, p := range f.s.all() {
		if _, err := netip.ParseAddr(p.cfg.Host); err == nil {
			continue
		}
		label, _, _ := strings.Cut(p.cfg.Host, ".")
		if strings.EqualFold(label, name) || strings.EqualFold(p.Proxy.Info().Name, name) {
			p.Kick()
		}
	}
}

// found uses an instance that is announced, unless it is in use or of no use.
func (f *finder) found(svc mdns.Service) {
	if f.auto == nil {
		return
	}
	release := svc.Text["version"] + " " + svc.Text["config_hash"] + " " + svc.Text["api_encryption"]
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.added[svc.Instance]
	if a != nil {
		a.seen = time.Now()
		if a.p != nil || a.release == release {
			return
		}
	}
	if f.ended || a == nil && len(f.added) >= maxAuto || f.known(svc) || f.own(svc) {
		return
	}
	log := f.s.d.log.With("proxy", apiwire.Printable(svc.Instance, 32))
	a = &added{release: release, seen: time.Now()}
	f.added[svc.Instance] = a
	if _, encrypted := svc.Text["api_encryption"]; encrypted != f.auto.PSK.IsSet() {
		log.Info("Found a device that auto_add does not use: it wants encryption and auto_add has no key, or the other way round; add it to proxies:",
			"encrypted", encrypted)
		return
	}
	pc := config.Proxy{
		Host: svc.Host, Port: svc.Port, PSK: f.auto.PSK,
		ScanMode: config.ScanAuto, OnConflict: config.ConflictYield, OnNoSlot: config.NoSlotWait,
	}
	if m, err := ble.ParseAddress(apiwire.MAC(svc.Text["mac"])); err == nil {
		pc.MAC, pc.HasMAC = m, true
	}
	p, err := f.s.make(pc)
	if err != nil {
		log.Warn("Cannot use the proxy that was found", "error", err)
		return
	}
	a.p, p.auto = p, svc.Instance
	log.Info("Found a device by multicast DNS", "host", svc.Host)
	f.s.join(p)
}

// known reports whether an instance is a proxy that is configured, by whatever name.
func (f *finder) known(svc mdns.Service) bool {
	mac := apiwire.MAC(svc.Text["mac"])
	for _, p := range f.s.all() {
		label, _, _ := strings.Cut(p.cfg.Host, ".")
		info := p.Proxy.Info()
		if p.auto == "" && (strings.EqualFold(label, svc.Instance) || strings.EqualFold(info.Name, svc.Instance) ||
			mac != "" && (strings.EqualFold(info.MAC, mac) || p.cfg.HasMAC && p.cfg.MAC.String() == mac)) {
			return true
		}
		if ip, err := netip.ParseAddr(p.cfg.Host); err == nil && p.cfg.Port == svc.Port {
			for _, a := range svc.Addrs {
				if a == ip {
					return true
				}
			}
		}
	}
	return false
}

// own reports whether an instance may be a proxy that we offer ourselves.
func (f *finder) own(svc mdns.Service) bool {
	share := f.s.d.sharing.configured()
	if share.Listen == "" {
		return false
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return true // better none than a loop
	}
	for _, l := range list {
		if n, ok := l.(*net.IPNet); ok {
			for _, a := range svc.Addrs {
				if svc.Port >= share.BasePort && n.IP.Equal(net.IP(a.WithZone("").AsSlice())) {
					return true
				}
			}
		}
	}
	return false
}

// reject drops an added device that turned out to be no Bluetooth proxy. It is called by the proxy's own goroutine.
func (f *finder) reject(p *proxy) {
	f.mu.Lock()
	if a := f.added[p.auto]; a != nil && a.p == p {
		a.p = nil
	}
	f.mu.Unlock()
	f.s.d.log.Info("The device is no Bluetooth proxy: it is not used", "proxy", apiwire.Printable(p.auto, 32))
	go f.s.leave(p)
}

// dropGone drops added proxies that are offline and were not announced for long.
func (f *finder) dropGone(now time.Time) {
	var gone []*proxy
	f.mu.Lock()
	for name, a := range f.added {
		if now.Sub(a.seen) < autoGone || a.p != nil && a.p.Online() {
			continue
		}
		delete(f.added, name)
		if a.p != nil {
			gone = append(gone, a.p)
		}
	}
	f.mu.Unlock()
	for _, p := range gone {
		f.s.d.log.Info("The proxy is gone: it is offline and not announced any more", "proxy", p.label())
		f.s.leave(p)
	}
}

// all lists the present proxies.
func (s *proxySet) all() []*proxy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*proxy(nil), s.list...)
}

// make makes a proxy that is not yet part of the set.
func (s *proxySet) make(pc config.Proxy) (*proxy, error) {
	p := &proxy{set: s, cfg: pc, name: pc.Name, mode: make(chan struct{}, 1)}
	var err error
	if p.Proxy, err = p.session(s.d); err != nil {
		return nil, fmt.Errorf("cannot make a proxy of %s: %w", hostPort(pc), err)
	}
	return p, nil
}

// join publishes a proxy while the bus is served, and starts it.
func (s *proxySet) join(p *proxy) {
	s.d.conn.Post(func() {
		s.mu.Lock()
		ctx := s.ctx
		stopped := ctx == nil || ctx.Err() != nil
		s.mu.Unlock()
		if stopped {
			return
		}
		p.obj.publish(s.d.conn, p, s.iface)
		s.mu.Lock()
		s.list = append(s.list, p)
		s.mu.Unlock()
		s.launch(ctx, p)
	})
}

// launch starts a proxy in the background.
func (s *proxySet) launch(ctx context.Context, p *proxy) {
	ctx, p.unfollow = context.WithCancel(ctx)
	go p.followMode(ctx)
	go p.Run(context.WithoutCancel(ctx))
}

// leave stops a proxy and takes it out of everything. Not for the proxy's own goroutine.
func (s *proxySet) leave(p *proxy) {
	p.Stop()
	name := p.Name()
	s.d.conn.Post(func() {
		if p.unfollow != nil {
			p.unfollow()
		}
		if name != "" {
			s.d.links.RemoveProxy(name)
		}
		s.mu.Lock()
		for i, q := range s.list {
			if q == p {
				s.list = append(s.list[:i:i], s.list[i+1:]...)
				break
			}
		}
		if s.names[name] == p {
			delete(s.names, name)
		}
		s.mu.Unlock()
		s.d.conn.Remove(p.obj.obj)
	})
}
