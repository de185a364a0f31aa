package daemon

import (
	"context"
	"net/netip"
	"reflect"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/finder"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/inspect"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/mdns"
	"bluez-esphome/internal/share"
)

// A sharer offers the proxies to other hosts as the configuration wants it, which a reload may change.
type sharer struct {
	d *Daemon

	changing lockorder.Mutex[lockorder.ShareChange] // one offer, withdrawal or reload at a time

	mu     lockorder.Mutex[lockorder.Sharer]
	cfg    config.Share
	server *share.Server // nil: nothing is shared
	merged *share.Merged // nil: each proxy is offered as one of its own
	ended  bool
	object *inspect.Sharing

	relaying lockorder.Mutex[lockorder.Relay] // keeps the merged air in order
	relayed  []ble.RawAdvert
}

var (
	_ fleet.Shared = (*share.Proxy)(nil)
	_ fleet.Shared = (*share.Member)(nil)
)

// newSharer makes what offers the proxies to other hosts, if it is configured.
func newSharer(d *Daemon) *sharer {
	s := &sharer{d: d}
	s.begin(d.config().Share)
	s.object = inspect.NewSharing(d.conn, d.board, s.Status)
	s.object.Show(s.server != nil)
	return s
}

// begin makes the server of a configuration.
func (s *sharer) begin(cfg config.Share) {
	var server *share.Server
	var merged *share.Merged
	if cfg.Listen != "" {
		server = share.New(s.config(cfg))
		if cfg.Offer == config.ShareMerged {
			merged = share.NewMerged(server)
		}
	}
	s.mu.Lock()
	s.cfg, s.server, s.merged = cfg, server, merged
	s.mu.Unlock()
}

func (s *sharer) config(cfg config.Share) share.Config {
	d := s.d
	sc := share.Config{
		Listen: cfg.Listen, BasePort: cfg.BasePort, Names: cfg.Names, Installation: d.store.Address(), Original: cfg.Identity == config.IdentityOriginal,
		Links: func(host share.Host, events links.Events) links.Links {
			return d.owners.Owner(gatt.OwnerConfig{Name: host.Name, Party: host.Party(), Guest: true, Events: events})
		},
		Index: func(mac ble.Address) (int, bool) {
			return d.store.ShareIndex(mac, d.proxies.Position(mac))
		},
		Announce: d.announce, ModeChanged: func(proxy string) { d.proxies.ModeChanged(proxy) }, Log: d.log,
	}
	if cfg.PSK.IsSet() {
		key := cfg.PSK.Key()
		sc.PSK = &key
	}
	return sc
}

// configured is the present configuration.
func (s *sharer) configured() config.Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

// Status tells of what is shared now.
func (s *sharer) Status() []share.Status {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	if server == nil {
		return nil
	}
	return server.Status()
}

// reload applies another configuration. Sessions with hosts go on unless their listener has to be another one.
func (s *sharer) reload(cfg config.Share) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	old, server, ended := s.cfg, s.server, s.ended
	s.mu.Unlock()
	if ended || reflect.DeepEqual(old, cfg) {
		return
	}
	s.d.owners.SetExclusive(cfg.Exclusive)
	old.Exclusive = cfg.Exclusive
	if reflect.DeepEqual(old, cfg) { // hosts see the same
		s.mu.Lock()
		s.cfg = cfg
		s.mu.Unlock()
		return
	}
	all := s.d.proxies.All()
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
	s.d.conn.Post(func() { s.object.Show(cfg.Listen != "") })
	s.d.proxies.ModeChanged("")
	s.d.log.Info("The proxies are shared as the new configuration says", "listen", cfg.Listen, "offer", string(cfg.Offer))
}

// Close ends the sharing for good.
func (s *sharer) Close() {
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

// up offers a proxy that came online.
func (s *sharer) up(p *fleet.Proxy) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.offer(p)
}

// offer shares a proxy if it is online. s.changing is held.
func (s *sharer) offer(p *fleet.Proxy) {
	s.mu.Lock()
	server, merged := s.server, s.merged
	s.mu.Unlock()
	if server == nil || merged != nil && !p.Up() {
		return
	}
	err := p.Share(func(id, name string, info apiconn.Info) (fleet.Shared, error) {
		of := shareInfo(id, name, info)
		if merged != nil {
			return merged.Up(of)
		}
		of.Said, of.Rest = info.Said, p.Rest()
		if psk := p.Config().PSK; psk.IsSet() {
			key := psk.Key()
			of.PSK = &key
		}
		return server.Up(of)
	})
	if err != nil {
		s.d.log.Error("A proxy is not shared", "error", err)
	}
}

// down withdraws a proxy that went offline.
func (s *sharer) down(p *fleet.Proxy) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if sh := p.Unshare(); sh != nil {
		sh.Down()
	}
}

func shareInfo(id, name string, info apiconn.Info) share.Info {
	return share.Info{
		ID: id, Name: name, DeviceName: info.Name, FriendlyName: info.FriendlyName, MAC: info.MAC, BluetoothMAC: info.BluetoothMAC, Version: info.Version,
		Model: info.Model, Manufacturer: info.Manufacturer, ProjectName: info.ProjectName, APIMinor: info.APIMinor, Features: info.Features,
	}
}

// adverts hands a batch to the merged table, to the hosts, and to the controllers of all proxies. Who shares each proxy
// for itself gets the batch as it came, and before anybody else; all proxies as one pass on what the table takes for
// new.
func (s *sharer) adverts(id string, sh fleet.Shared, at time.Time, batch []ble.RawAdvert) {
	if own, ok := sh.(*share.Proxy); ok {
		own.Adverts(batch)
	}
	s.mu.Lock()
	merged := s.merged
	s.mu.Unlock()
	if merged == nil && !s.d.hci.wantMerged() {
		s.d.table.Adverts(id, at, batch)
		return
	}
	s.relaying.Lock()
	defer s.relaying.Unlock()
	s.relayed = s.d.table.Relay(id, at, batch, s.relayed[:0])
	if merged != nil {
		merged.Adverts(s.relayed)
	}
	s.d.hci.adverts(at, s.relayed)
	clear(s.relayed) // the data is the session's
}

// announce tells the network of a shared proxy, as devices with ESPHome do.
func (d *Daemon) announce(ctx context.Context, s share.Service) {
	a := mdns.Announced{Service: finder.Service, Instance: s.Name, Port: s.Port, Text: s.Text, Taken: func(mac string) {
		d.log.Warn("Another device on the network has the name of a shared proxy: hosts may take one for the other; change share.names here, or the name there",
			"name", s.Name, "mac", apiwire.Printable(mac, 17))
	}}
	if ip, err := netip.ParseAddr(s.IP); err == nil {
		a.Addrs = []netip.Addr{ip.Unmap()}
	}
	if err := mdns.NewResponder([]mdns.Announced{a}, d.opts.Interfaces, d.log).Run(ctx); err != nil {
		d.log.Warn("A shared proxy is not announced by multicast DNS; add it to the other host by address and port", "name", s.Name, "port", s.Port, "error", err)
	}
}

// mayBeOurs reports whether an instance may be a proxy that we offer ourselves.
func (s *sharer) mayBeOurs(svc mdns.Service) bool {
	cfg := s.configured()
	return cfg.Listen != "" && svc.Port >= cfg.BasePort && finder.OfThisHost(svc)
}
