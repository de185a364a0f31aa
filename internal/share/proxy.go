package share

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
)

// Proxy is one real proxy as it is shared, from Up to Down. It takes what the real one says and is the
// backend of its hosts' sessions.
type Proxy struct {
	srv    *Server
	name   string // of the real proxy
	port   int
	device apiserver.Device
	minor  uint32
	log    *slog.Logger
	cancel context.CancelFunc

	mu           sync.Mutex // taken before host.mu
	hosts        map[*apiserver.Session]*host
	raw, decoded []*apiserver.Session // subscribers
	scanner      apiserver.ScannerStatus
	scannerKnown bool
	slots        ble.Slots
	active       bool // what WantsActive says
}

var _ apiserver.Backend = (*Proxy)(nil)

// Down ends what Up began: the real proxy is offline. It does not wait.
func (p *Proxy) Down() {
	p.cancel()
	p.srv.mu.Lock()
	defer p.srv.mu.Unlock()
	delete(p.srv.up, p)
}

// Adverts passes a batch on to every subscriber. Nothing of it is kept.
func (p *Proxy) Adverts(batch []ble.RawAdvert) {
	if len(batch) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.raw) > 0 {
		payload := apiserver.EncodeRawAdverts(batch) // once for all
		for _, s := range p.raw {
			s.RawAdvertsPayload(payload)
		}
	}
	for _, s := range p.decoded {
		for i := range batch {
			s.DecodedAdvert(batch[i])
		}
	}
}

// Scanner passes the state of the real proxy's scanner on.
func (p *Proxy) Scanner(state ble.ScannerState, mode, configured ble.ScannerMode) {
	p.mu.Lock()
	p.scanner = apiserver.ScannerStatus{State: state, Mode: mode, Configured: configured}
	p.scannerKnown = true
	for _, s := range p.raw {
		s.Scanner(p.scanner)
	}
	for _, s := range p.decoded {
		s.Scanner(p.scanner)
	}
	p.mu.Unlock()
	p.modes()
}

// Slots takes what the real proxy says of its slots; each host is told its own part of them.
func (p *Proxy) Slots(slots ble.Slots) {
	slots.Allocated = slices.Clone(slots.Allocated)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots = slots
	for _, h := range p.hosts {
		h.tellSlots(slots)
	}
}

// WantsActive reports whether a host wants active scanning: it asked for it, or it subscribed without asking for a mode, where the
// real proxy is configured to scan actively.
func (p *Proxy) WantsActive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active
}

// modes finds out what the hosts want now.
func (p *Proxy) modes() {
	p.mu.Lock()
	active := false
	for _, h := range p.hosts {
		active = active || h.wantsActive(p.scannerKnown && p.scanner.Configured == ble.ScanActive)
	}
	changed := active != p.active
	p.active = active
	p.mu.Unlock()
	if changed {
		p.srv.cfg.ModeChanged(p.name)
	}
}

// HostStatus is one host that shares a proxy.
type HostStatus struct {
	Name       string // as the host calls itself
	Subscribed bool
	Links      int
	Dropped    uint64 // batches and notifications that it lost because it did not read
}

// Status is a shared proxy.
type Status struct {
	Name  string
	Port  int
	Hosts []HostStatus
}

// Status tells of the present hosts.
func (p *Proxy) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{Name: p.device.Name, Port: p.port}
	for s, h := range p.hosts {
		subscribed, links := h.counts()
		st.Hosts = append(st.Hosts, HostStatus{Name: s.ClientName(), Subscribed: subscribed, Links: links, Dropped: s.Dropped()})
	}
	slices.SortFunc(st.Hosts, func(a, b HostStatus) int { return compare(a.Name, b.Name) })
	return st
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// host finds the host of a session; a session that is not open has none.
func (p *Proxy) host(s *apiserver.Session) *host {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hosts[s]
}

// Opened implements apiserver.Backend.
func (p *Proxy) Opened(s *apiserver.Session) {
	ctx, cancel := context.WithCancel(context.Background())
	h := &host{p: p, s: s, cancel: cancel, devices: map[ble.Address]*device{}}
	h.spawn = func(f func(context.Context)) { p.srv.wg.Go(func() { f(ctx) }) }
	h.links = p.srv.cfg.Links(h)
	p.mu.Lock()
	p.hosts[s] = h
	p.mu.Unlock()
	p.log.Info("A host shares the proxy", "host", s.ClientName())
}

// Closed implements apiserver.Backend: what the host held goes, and nothing else.
func (p *Proxy) Closed(s *apiserver.Session) {
	p.mu.Lock()
	h := p.hosts[s]
	delete(p.hosts, s)
	p.unsubscribeLocked(s)
	p.mu.Unlock()
	h.close()
	p.modes()
	p.log.Info("A host left the shared proxy", "host", s.ClientName(), "lost", s.Dropped())
}

// SubscribeAdverts implements apiserver.Backend. Every subscriber is told the scanner's state, which proves the subscription.
func (p *Proxy) SubscribeAdverts(s *apiserver.Session, raw bool) {
	p.mu.Lock()
	p.unsubscribeLocked(s)
	if raw {
		p.raw = append(p.raw, s)
	} else {
		p.decoded = append(p.decoded, s)
	}
	if p.scannerKnown {
		s.Scanner(p.scanner)
	}
	p.hosts[s].subscribe(true)
	p.mu.Unlock()
	p.modes()
}

// UnsubscribeAdverts implements apiserver.Backend. As with the firmware it ends the host's links.
func (p *Proxy) UnsubscribeAdverts(s *apiserver.Session) {
	p.mu.Lock()
	p.unsubscribeLocked(s)
	h := p.hosts[s]
	h.subscribe(false)
	p.mu.Unlock()
	h.dropAll()
	p.modes()
}

func (p *Proxy) unsubscribeLocked(s *apiserver.Session) {
	is := func(t *apiserver.Session) bool { return t == s }
	p.raw = slices.DeleteFunc(p.raw, is)
	p.decoded = slices.DeleteFunc(p.decoded, is)
}

// SubscribeSlots implements apiserver.Backend.
func (p *Proxy) SubscribeSlots(s *apiserver.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts[s].subscribeSlots(p.slots)
}

// SetScanMode implements apiserver.Backend.
func (p *Proxy) SetScanMode(s *apiserver.Session, mode ble.ScannerMode) {
	p.host(s).setMode(mode)
	p.modes()
}

// slotsNow is what the real proxy said last.
func (p *Proxy) slotsNow() ble.Slots {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots
}
