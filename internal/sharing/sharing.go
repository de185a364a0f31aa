// Package sharing offers the proxies in use to other hosts as the configuration wants it, and follows its changes: it
// puts package share, which serves those hosts, together with package fleet, which knows the proxies.
package sharing

import (
	"log/slog"
	"net"
	"reflect"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/finder"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/mdns"
	"bluez-esphome/internal/share"
	"bluez-esphome/internal/store"
)

// Config makes a Sharer. No field but Interfaces may be its zero value.
type Config struct {
	Store *store.Store
	// Links makes a host's hold on links.
	Links func(host share.Host, events links.Events) links.Links
	// SetExclusive is told whether a link belongs to one party alone, whenever a reload changes that.
	SetExclusive func(bool)
	// Shown is told whether anything is to be shared, whenever a reload may have changed that.
	Shown func(bool)
	// Interfaces lists those on which shared proxies are announced; nil is all but loopback.
	Interfaces func() ([]net.Interface, error)
	Logger     *slog.Logger
}

// A Sharer offers the proxies to other hosts. Its methods are goroutine-safe.
type Sharer struct {
	opts    Config
	proxies *fleet.Set // see Use

	changing lockorder.Mutex[lockorder.ShareChange] // one offer, withdrawal or reload at a time

	mu     lockorder.Mutex[lockorder.Sharer]
	cfg    config.Share
	server *share.Server // nil: nothing is shared
	merged *share.Merged // nil: each proxy is offered as one of its own
	ended  bool
}

var (
	_ fleet.Shared = (*share.Proxy)(nil)
	_ fleet.Shared = (*share.Member)(nil)
)

// New makes a Sharer that listens as cfg wants it.
func New(cfg config.Share, opts Config) *Sharer {
	s := &Sharer{opts: opts}
	s.begin(cfg)
	return s
}

// Use has the Sharer offer proxies. It is called once, before a proxy or a host is served.
func (s *Sharer) Use(proxies *fleet.Set) { s.proxies = proxies }

// begin makes the server of a configuration.
func (s *Sharer) begin(cfg config.Share) {
	var server *share.Server
	var merged *share.Merged
	if cfg.Listen != "" {
		server = share.New(s.serverConfig(cfg))
		if cfg.Offer == config.ShareMerged {
			merged = share.NewMerged(server)
		}
	}
	s.mu.Lock()
	s.cfg, s.server, s.merged = cfg, server, merged
	s.mu.Unlock()
}

func (s *Sharer) serverConfig(cfg config.Share) share.Config {
	sc := share.Config{
		Listen: cfg.Listen, BasePort: cfg.BasePort, Names: cfg.Names, Installation: s.opts.Store.Address(), Self: apiwire.Self(s.opts.Store.Address().String()),
		Original: cfg.Identity == config.IdentityOriginal, Links: s.opts.Links,
		Index: func(mac ble.Address) (int, bool) {
			return s.opts.Store.ShareIndex(mac, s.proxies.Position(mac))
		},
		Announce: s.announce, ModeChanged: func(proxy string) { s.proxies.ModeChanged(proxy) }, Log: s.opts.Logger,
	}
	if cfg.NoisePSK.IsSet() {
		key := cfg.NoisePSK.Key()
		sc.PSK = &key
	}
	return sc
}

// Enabled reports whether proxies are to be shared.
func (s *Sharer) Enabled() bool { return s.configured().Listen != "" }

// configured is the present configuration.
func (s *Sharer) configured() config.Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

// Merged is the offer of all proxies as one, or nil where each is offered as one of its own or none is.
func (s *Sharer) Merged() *share.Merged {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.merged
}

// Status tells of what is shared now.
func (s *Sharer) Status() []share.Status {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	if server == nil {
		return nil
	}
	return server.Status()
}

// Apply applies another configuration. Sessions with hosts go on unless their listener has to be another one.
func (s *Sharer) Apply(cfg config.Share) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	old, server, ended := s.cfg, s.server, s.ended
	s.mu.Unlock()
	if ended || reflect.DeepEqual(old, cfg) {
		return
	}
	s.opts.SetExclusive(cfg.InUse == config.InUseRefuse)
	old.InUse = cfg.InUse
	if reflect.DeepEqual(old, cfg) { // hosts see the same
		s.mu.Lock()
		s.cfg = cfg
		s.mu.Unlock()
		return
	}
	all := s.proxies.All()
	for _, p := range all {
		p.Unshare()
	}
	if server != nil {
		server.Close()
	}
	s.begin(cfg)
	for _, p := range all {
		s.offer(p)
	}
	s.opts.Shown(cfg.Listen != "")
	s.proxies.ModeChanged("")
	s.opts.Logger.Info("The proxies are shared as the new configuration says", "listen", cfg.Listen, "offer", string(cfg.Offer))
}

// Close ends the sharing for good.
func (s *Sharer) Close() {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	server := s.server
	s.ended, s.server, s.merged = true, nil, nil
	s.mu.Unlock()
	if server != nil {
		server.Close()
	}
}

// Up offers a proxy that came online, or of which it became known what it is.
func (s *Sharer) Up(p *fleet.Proxy) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.offer(p)
}

// offer shares a proxy if it is online. s.changing is held.
func (s *Sharer) offer(p *fleet.Proxy) {
	s.mu.Lock()
	server, merged := s.server, s.merged
	s.mu.Unlock()
	if server == nil || merged != nil && !p.Up() {
		return
	}
	err := p.Share(func(id, name string, info apiconn.Info) (fleet.Shared, error) {
		of := infoOf(id, name, info)
		if merged != nil {
			return merged.Up(of)
		}
		of.Said, of.Rest = info.Said, p.Rest()
		if psk := p.Config().NoisePSK; psk.IsSet() {
			key := psk.Key()
			of.PSK = &key
		}
		return server.Up(of)
	})
	if err != nil {
		s.opts.Logger.Error("A proxy is not shared", "error", err)
	}
}

// Down withdraws a proxy that went offline.
func (s *Sharer) Down(p *fleet.Proxy) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if sh := p.Unshare(); sh != nil {
		sh.Down()
	}
}

// Unused takes a proxy out of what all of them as one come through.
func (s *Sharer) Unused(id string) {
	if merged := s.Merged(); merged != nil {
		merged.Forget(id)
	}
}

func infoOf(id, name string, info apiconn.Info) share.Info {
	return share.Info{
		ID: id, Name: name, DeviceName: info.Name, FriendlyName: info.FriendlyName, MAC: info.MAC,
		BluetoothMAC: info.BluetoothMAC, Version: info.Version, Via: info.Via, Model: info.Model, Manufacturer: info.Manufacturer,
		ProjectName: info.ProjectName, APIMinor: info.APIMinor, Features: info.Features,
	}
}

// MayBeOurs reports whether an instance on the network may be a proxy that we offer ourselves.
func (s *Sharer) MayBeOurs(svc mdns.Service) bool {
	cfg := s.configured()
	return cfg.Listen != "" && svc.Port >= cfg.BasePort && finder.OfThisHost(svc)
}
