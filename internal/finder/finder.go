// Package finder finds proxies by multicast DNS: it resolves their names, notices their signs of life, and with
// auto_add has the daemon use every one that is announced.
//
// Whoever is in the network can announce anything. So what was found is used with bounds: in number, by where it is,
// and by how often it is tried; and package fleet sees to it that it is taken for nobody else.
package finder

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/lapse"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/mdns"
)

const (
	// Service is what devices with ESPHome's native API announce.
	Service = "_esphomelib._tcp"
	// attemptEvery spaces out the attempts to reach proxies: two hundred come back within two seconds.
	attemptEvery = 10 * time.Millisecond
	// gone is how long a proxy that was found and is offline may not be announced before it is dropped; it is
	// asked for every five minutes.
	gone = 15 * time.Minute
	// lookEvery is how often those are looked for, and those for whom there was no place before.
	lookEvery = 2 * time.Second
	// maxFound bounds how many proxies strangers can make us use. Beside them maxTrial may be tried that never were
	// online: one that had its trial makes room for another, whose last trial is longest ago. Of maxUseless it is known
	// that they are of no use.
	maxFound   = 256
	maxTrial   = 128
	maxUseless = 1024
	// trial is how long one that never was online keeps its place though others want it.
	trial = 5 * time.Second
)

// Config makes a Finder. Only Interfaces may be nil: it is mdns.RealInterfaces then.
type Config struct {
	Interfaces func() ([]net.Interface, error)
	// Own reports whether an instance may be a proxy that we offer ourselves.
	Own    func(mdns.Service) bool
	Logger *slog.Logger
}

// A Finder is the part of multicast DNS in the daemon. Its methods are goroutine-safe.
type Finder struct {
	log        *slog.Logger
	own        func(mdns.Service) bool
	interfaces func() ([]net.Interface, error)
	pacer      *apiconn.Pacer
	mdns       *mdns.Client
	targets    *targets
	wake       chan struct{} // capacity 1: needed may have changed
	ready      chan struct{} // closed once Run serves

	mu     lockorder.Mutex[lockorder.Finder]
	set    *fleet.Set           // nil before Use
	cfg    *config.Config       // the present one
	auto   *config.AutoAdd      // of cfg
	needed bool                 // a name, or auto, needs multicast DNS
	found  map[string]*found    // by instance; also those that are of no use
	tried  map[string]time.Time // by instance, when its trial began
	ended  bool
}

// found is an instance that was looked at.
type found struct {
	p       *fleet.Proxy // nil before it is made, and once it proved to be of no use
	coming  bool         // p is being made
	release string       // what it was then: another version may be of use
	seen    time.Time
	since   time.Time // when it got its place
	proven  bool      // p was online
}

var _ fleet.Network = (*Finder)(nil)

// New makes a Finder, which is silent until Apply says that it is needed.
func New(cfg Config) *Finder {
	f := &Finder{
		log: cfg.Logger, own: cfg.Own, interfaces: cfg.Interfaces, pacer: apiconn.NewPacer(attemptEvery), targets: newTargets(),
		wake: make(chan struct{}, 1), ready: make(chan struct{}), found: map[string]*found{}, tried: map[string]time.Time{},
	}
	if f.interfaces == nil {
		f.interfaces = mdns.RealInterfaces
	}
	f.mdns = mdns.New(mdns.Config{Service: Service, Interfaces: f.interfaces, Alive: f.alive, Found: f.heard, Logger: f.log})
	return f
}

// Use tells the set that the proxies are part of, before Run.
func (f *Finder) Use(set *fleet.Set) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = set
}

// Apply takes the present configuration. Proxies that were found are dropped if they are not to be used any more, or
// with another key.
func (f *Finder) Apply(cfg *config.Config) {
	needed := cfg.AutoAdd != nil
	for _, p := range cfg.Proxies {
		needed = needed || mdns.Local(p.Host)
	}
	f.mu.Lock()
	old := f.auto
	f.cfg, f.auto, f.needed = cfg, cfg.AutoAdd, needed
	var drop []*fleet.Proxy
	if (old == nil) != (cfg.AutoAdd == nil) || old != nil && old.NoisePSK != cfg.AutoAdd.NoisePSK {
		for _, e := range f.found {
			if e.p != nil {
				drop = append(drop, e.p)
			}
		}
		clear(f.found)
	}
	set := f.set
	f.mu.Unlock()
	var left sync.WaitGroup
	for _, p := range drop { // each may take a moment to say goodbye
		left.Go(func() { set.Leave(p) })
	}
	left.Wait()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Finder) active() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.needed
}

// Ready is closed once Run serves.
func (f *Finder) Ready() <-chan struct{} { return f.ready }

// Run serves until ctx ends.
func (f *Finder) Run(ctx context.Context) error {
	var client sync.WaitGroup
	stop := func() {}
	running := false
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var lapses lapse.Watch
	close(f.ready)
	for ctx.Err() == nil {
		needed := f.active()
		switch {
		case needed && !running:
			var clientCtx context.Context
			clientCtx, stop = context.WithCancel(ctx)
			client.Go(func() { f.mdns.Run(clientCtx) })
		case !needed && running:
			stop()
			client.Wait()
		}
		running = needed
		lapses.Until(time.Now().Add(lookEvery))
		select {
		case <-ctx.Done():
		case <-f.wake:
		case <-tick.C:
			now := time.Now()
			if !lapses.Woke(now) { // else who was announced meanwhile is yet to be heard
				f.dropGone(now)
			}
			f.tryAgain()
		}
	}
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	stop()
	client.Wait()
	return nil
}

// alive kicks the proxies whose name was heard. Those with an IP address have none.
func (f *Finder) alive(name string) {
	f.mu.Lock()
	set := f.set
	f.mu.Unlock()
	for _, p := range set.All() {
		host := p.Config().Host
		if _, err := netip.ParseAddr(host); err == nil {
			continue
		}
		label, _, _ := strings.Cut(host, ".")
		if strings.EqualFold(label, name) || strings.EqualFold(p.Info().Name, name) {
			p.Kick()
		}
	}
}

// tryAgain looks at instances for which there was no place when they were heard. Those come first whose last trial is
// longest ago: who makes up names and repeats them does not keep others out.
func (f *Finder) tryAgain() {
	f.mu.Lock()
	look := f.auto != nil && !f.ended
	f.mu.Unlock()
	if !look {
		return
	}
	now := time.Now()
	list := f.mdns.Services()
	f.mu.Lock()
	list = slices.DeleteFunc(list, func(s mdns.Service) bool { return f.found[s.Instance] != nil || now.Sub(s.Seen) >= gone })
	when := make(map[string]time.Time, len(list))
	for _, s := range list {
		when[s.Instance] = f.tried[s.Instance]
	}
	f.mu.Unlock()
	slices.SortStableFunc(list, func(a, b mdns.Service) int { return when[a.Instance].Compare(when[b.Instance]) })
	for _, s := range list {
		f.look(s, true)
	}
}

// heard is told of each instance that is announced.
func (f *Finder) heard(svc mdns.Service) { f.look(svc, false) }

// look uses an instance, unless it is in use or of no use, or there is no place for it. It may take that of another one
// if it is its turn.
func (f *Finder) look(svc mdns.Service, turn bool) {
	release := svc.Text["version"] + " " + svc.Text["config_hash"] + " " + svc.Text["api_encryption"]
	now := time.Now()
	f.mu.Lock()
	cfg, set, auto, e := f.cfg, f.set, f.auto, f.found[svc.Instance]
	if e != nil {
		e.seen = max2(e.seen, svc.Seen)
		if e.p != nil || e.coming || e.release == release {
			auto = nil
		}
	}
	ended := f.ended
	f.mu.Unlock()
	if auto == nil || ended || configured(cfg, svc) || f.known(set, svc) || f.own(svc) {
		return
	}
	place, evicted := f.place(svc.Instance, release, now, turn)
	if evicted != nil {
		set.Leave(evicted)
	}
	if place == nil {
		return
	}
	p := f.begin(set, svc, auto)
	f.mu.Lock()
	place.p, place.coming = p, false
	f.mu.Unlock()
	if p == nil {
		return
	}
	if set.Join(p) != nil {
		f.forget(p)
		return
	}
	f.mu.Lock()
	lost := f.found[svc.Instance] != place // to another one, or by a reload, when p was no part of the set yet
	f.mu.Unlock()
	if lost {
		set.Leave(p)
	}
}

func max2(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// place makes room for an instance, nil if there is none, perhaps by taking that of another one, whose proxy is
// returned.
func (f *Finder) place(instance, release string, now time.Time, turn bool) (_ *found, evicted *fleet.Proxy) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return nil, nil
	}
	if f.found[instance] == nil {
		proven, trials, useless, over, oldest := 0, 0, 0, "", ""
		for name, e := range f.found {
			if e.p == nil && !e.coming {
				useless++
				if oldest == "" || e.seen.Before(f.found[oldest].seen) {
					oldest = name
				}
				continue
			}
			e.proven = e.proven || e.p != nil && e.p.ID() != ""
			if e.proven {
				proven++
				continue
			}
			trials++
			if e.p != nil && now.Sub(e.since) >= trial && (over == "" || e.since.Before(f.found[over].since)) {
				over = name
			}
		}
		if proven >= maxFound || trials >= maxTrial && (!turn || over == "") {
			return nil, nil
		}
		if trials >= maxTrial {
			evicted = f.found[over].p
			delete(f.found, over)
		}
		if useless >= maxUseless {
			delete(f.found, oldest)
		}
	}
	if len(f.tried) >= 2*maxUseless { // what is not known any more is tried like new
		clear(f.tried)
	}
	f.tried[instance] = now
	place := &found{coming: true, release: release, seen: now, since: now}
	f.found[instance] = place
	return place, evicted
}

// begin makes the proxy of an instance; nil if the instance cannot be used.
func (f *Finder) begin(set *fleet.Set, svc mdns.Service, auto *config.AutoAdd) *fleet.Proxy {
	log := f.log.With("proxy", apiwire.Printable(svc.Instance, 32))
	if _, encrypted := svc.Text["api_encryption"]; encrypted != auto.NoisePSK.IsSet() {
		log.Info("Found a device that auto_add does not use: it wants encryption and auto_add has no key, or the other way round; add it to proxies:",
			"encrypted", encrypted)
		return nil
	}
	why := error(nil)
	if !localHost(svc.Host) {
		why = errNotLocal
	} else if len(f.onLink(svc.Addrs)) == 0 {
		why = errNotOnLink
	}
	if why != nil {
		log.Info("Found a device that auto_add does not use", "host", apiwire.Printable(svc.Host, 64), "reason", why)
		return nil
	}
	pc := config.Proxy{
		Host: svc.Host, Port: svc.Port, NoisePSK: auto.NoisePSK,
		ScanMode: config.ScanAuto, OnConflict: config.ConflictYield, OnNoSlot: config.NoSlotWait,
	}
	if m, err := ble.ParseAddress(apiwire.MAC(svc.Text["mac"])); err == nil {
		pc.MAC, pc.HasMAC = m, true
	}
	p, err := set.Make(pc, svc.Instance)
	if err != nil {
		log.Warn("Cannot use the proxy that was found", "error", err)
		return nil
	}
	log.Info("Found a device by multicast DNS", "host", apiwire.Printable(svc.Host, 64))
	return p
}

// configured reports whether an instance is a proxy of the configuration, by its name, MAC or address, whether or not
// that is in use yet.
func configured(cfg *config.Config, svc mdns.Service) bool {
	mac, _ := ble.ParseAddress(apiwire.MAC(svc.Text["mac"]))
	return slices.ContainsFunc(cfg.Proxies, func(p config.Proxy) bool {
		host := strings.TrimSuffix(p.Host, ".")
		label, _, _ := strings.Cut(host, ".")
		ip, err := netip.ParseAddr(host)
		return err != nil && strings.EqualFold(label, svc.Instance) || p.HasMAC && p.MAC == mac ||
			p.Port == svc.Port && (strings.EqualFold(host, svc.Host) || err == nil && contains(svc.Addrs, ip))
	})
}

// known reports whether an instance is a proxy that is used already, by whatever name: of two ways to one device one is
// enough.
func (f *Finder) known(set *fleet.Set, svc mdns.Service) bool {
	mac, _ := ble.ParseAddress(apiwire.MAC(svc.Text["mac"]))
	for _, p := range set.All() {
		pc := p.Config()
		_, other := p.Found()
		remote, up := p.Remote()
		switch {
		case !other && strings.EqualFold(p.Info().Name, svc.Instance),
			mac != 0 && (p.MAC() == mac || pc.HasMAC && pc.MAC == mac),
			pc.Port == svc.Port && strings.EqualFold(pc.Host, svc.Host),
			up && remote.Port() == svc.Port && contains(svc.Addrs, remote.Addr()):
			return true
		}
	}
	return false
}

func contains(list []netip.Addr, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(b netip.Addr) bool { return a.Unmap().WithZone("") == b.Unmap().WithZone("") })
}

// Online notes that a proxy that was found is one.
func (f *Finder) Online(p *fleet.Proxy) {
	instance, _ := p.Found()
	if remote, ok := p.Remote(); ok {
		f.targets.good(remote)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.found[instance]; e != nil && e.p == p {
		e.proven = true
	}
}

// Refuse drops a proxy that was found and is not to be used. It is not for the proxy's own goroutine.
func (f *Finder) Refuse(p *fleet.Proxy, why string) {
	instance, _ := p.Found()
	f.mu.Lock()
	set := f.set
	if e := f.found[instance]; e != nil && e.p == p {
		e.p = nil
	}
	f.mu.Unlock()
	f.log.Info("A device that was found is not used", "proxy", apiwire.Printable(instance, 32), "reason", why)
	set.Leave(p)
}

func (f *Finder) forget(p *fleet.Proxy) {
	instance, _ := p.Found()
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.found[instance]; e != nil && e.p == p {
		delete(f.found, instance)
	}
}

// dropGone drops proxies that were found, are offline and were not announced for long.
func (f *Finder) dropGone(now time.Time) {
	var drop []*fleet.Proxy
	f.mu.Lock()
	set := f.set
	for name, e := range f.found {
		if now.Sub(e.seen) < gone || e.p != nil && e.p.Online() {
			continue
		}
		delete(f.found, name)
		if e.p != nil {
			drop = append(drop, e.p)
		}
	}
	f.mu.Unlock()
	for _, p := range drop {
		f.log.Info("The proxy is gone: it is offline and not announced any more", "proxy", p.Label())
		set.Leave(p)
	}
}
