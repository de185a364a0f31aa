package share

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
)

// Proxy is one device as it is shared, from Up to Down: a real proxy, or all of them as one. It takes what the real one
// says and is the backend of its hosts' sessions.
type Proxy struct {
	srv    *Server
	id     string    // of the real proxy; empty for all of them
	name   string    // of the real proxy, for people; empty for all of them
	rest   Rest      // nil: nothing besides the proxy is offered
	psk    *[32]byte // that hosts need; nil: plaintext
	port   int
	log    *slog.Logger
	cancel context.CancelFunc

	// mu guards the hosts, too: they are few. Nothing that is called with it held waits.
	mu           lockorder.Mutex[lockorder.ShareProxy]
	device       apiserver.Device
	minor        uint32
	address      string // where it listens, once it does
	hosts        map[*apiserver.Session]*host
	raw, decoded []*apiserver.Session // subscribers
	scanner      apiserver.ScannerStatus
	scannerKnown bool
	slots        ble.Slots
	active       bool // what WantsActive says
}

var _ apiserver.OtherBackend = (*Proxy)(nil)

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
	if len(p.decoded) == 0 {
		return
	}
	for i := range batch {
		payload, err := apiserver.EncodeDecodedAdvert(batch[i])
		if err != nil {
			p.log.Debug("Cannot encode an advertisement", "error", err)
			continue
		}
		for _, s := range p.decoded {
			s.DecodedAdvertPayload(payload)
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
		h.tellSlotsLocked()
	}
}

// WantsActive reports whether a host wants active scanning: it asked for it, or it subscribed without asking for a
// mode, where the real proxy is configured to scan actively.
func (p *Proxy) WantsActive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active
}

// Wanted reports whether a host subscribed to the advertisements.
func (p *Proxy) Wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.raw)+len(p.decoded) > 0
}

// modes finds out what the hosts want now.
func (p *Proxy) modes() {
	p.mu.Lock()
	active := false
	for _, h := range p.hosts {
		active = active || h.wantsActiveLocked(p.scannerKnown && p.scanner.Configured == ble.ScanActive)
	}
	changed := active != p.active
	p.active = active
	p.mu.Unlock()
	if changed {
		p.srv.cfg.ModeChanged(p.id)
	}
}

// host finds the host of a session; a session that is not open has none.
func (p *Proxy) host(s *apiserver.Session) *host {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hosts[s]
}

// errOutdated is why a session ends whose host is to ask again.
var errOutdated = errors.New("the proxies together are no longer what the host was told")

// Opened implements apiserver.Backend.
func (p *Proxy) Opened(s *apiserver.Session) {
	h := newHost(p, s)
	h.links = p.srv.cfg.Links(Host{Name: s.ClientName(), Address: addressOf(s)}, h)
	p.mu.Lock()
	p.hosts[s] = h
	p.mu.Unlock()
	p.log.Info("A host shares the proxy", "host", s.ClientName(), "address", addressOf(s))
}

// addressOf is where a host is. Its port is another one each time and tells nobody anything: with it no line would be a
// repeat.
func addressOf(s *apiserver.Session) string {
	address := s.RemoteAddr().String()
	if ip, _, err := net.SplitHostPort(address); err == nil {
		return ip
	}
	return address
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
	counts := s.Counts()
	p.srv.left(p.label(), counts)
	p.log.Info("A host left the shared proxy", "host", s.ClientName(), "batches", counts.Adverts, "lost", counts.DroppedAdverts+counts.DroppedNotifications)
}

// SubscribeAdverts implements apiserver.Backend. Every subscriber is told the scanner's state, which proves the
// subscription.
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
	p.hosts[s].subscribed = true
	p.mu.Unlock()
	p.modes()
}

// UnsubscribeAdverts implements apiserver.Backend. As with the firmware it ends the host's links.
func (p *Proxy) UnsubscribeAdverts(s *apiserver.Session) {
	p.mu.Lock()
	p.unsubscribeLocked(s)
	h := p.hosts[s]
	h.subscribed = false
	h.dropAllLocked()
	p.mu.Unlock()
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
	h := p.hosts[s]
	h.wantsSlots = true
	h.tellSlotsLocked()
}

// SetScanMode implements apiserver.Backend.
func (p *Proxy) SetScanMode(s *apiserver.Session, mode ble.ScannerMode) {
	p.mu.Lock()
	p.hosts[s].mode = &mode
	p.mu.Unlock()
	p.modes()
}
