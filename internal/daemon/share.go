package daemon

import (
	"context"
	"net/netip"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/mdns"
	"bluez-esphome/internal/share"
)

// newShare makes what offers the proxies to other hosts, or nil if it is not configured.
func newShare(d *Daemon) *share.Server {
	cfg := d.opts.Config.Share
	if cfg.Listen == "" {
		return nil
	}
	sc := share.Config{
		Listen: cfg.Listen, BasePort: cfg.BasePort, Names: cfg.Names, Identity: d.store.Address(),
		Links: func(ev share.LinkEvents) share.Links {
			return d.owners.Owner(gatt.OwnerConfig{Name: ev.HostName(), Events: ev})
		},
		Index: func(mac ble.Address) (int, bool) {
			return d.store.ShareIndex(mac, d.proxies.position(mac))
		},
		Announce: d.announce, ModeChanged: func(name string) { d.proxies.modeChanged(name) }, Log: d.log,
	}
	if cfg.PSK.IsSet() {
		key := cfg.PSK.Key()
		sc.PSK = &key
	}
	return share.New(sc)
}

// announce tells the network of a shared proxy, as devices with ESPHome do.
func (d *Daemon) announce(ctx context.Context, s share.Service) {
	a := mdns.Announced{Service: esphomeService, Instance: s.Name, Port: s.Port, Text: s.Text}
	if ip, err := netip.ParseAddr(s.IP); err == nil {
		a.Addrs = []netip.Addr{ip.Unmap()}
	}
	if err := mdns.NewResponder([]mdns.Announced{a}, d.opts.Interfaces, d.log).Run(ctx); err != nil {
		d.log.Warn("A shared proxy is not announced by multicast DNS; add it to the other host by address and port", "name", s.Name, "port", s.Port, "error", err)
	}
}

// position is where the proxy with that MAC stands in the configuration, from 0; proxies that are not configured come behind.
func (s *proxySet) position(mac ble.Address) int {
	n, found := 0, -1
	for _, p := range s.all() {
		if p.auto != "" {
			continue
		}
		if own, err := ble.ParseAddress(p.Proxy.Info().MAC); err == nil && own == mac && found < 0 {
			found = n
		}
		n++
	}
	if found < 0 {
		return n
	}
	return found
}

// modeChanged: the hosts that share a proxy want another scan mode.
func (s *proxySet) modeChanged(name string) {
	for _, p := range s.all() {
		if p.Name() == name {
			select {
			case p.mode <- struct{}{}:
			default:
			}
		}
	}
}

// offer shares a proxy that is online.
func (p *proxy) offer(name string, info apiconn.Info) {
	d := p.set.d
	if d.share == nil {
		return
	}
	sh, err := d.share.Up(share.Info{
		Name: name, FriendlyName: info.FriendlyName, MAC: info.MAC, BluetoothMAC: info.BluetoothMAC, Version: info.Version,
		Model: info.Model, Manufacturer: info.Manufacturer, ProjectName: info.ProjectName, APIMinor: info.APIMinor, Features: info.Features,
	})
	if err != nil {
		d.log.Error("A proxy is not shared", "error", err)
		return
	}
	if slots := p.Slots(); slots.Known {
		sh.Slots(slots)
	}
	p.mu.Lock()
	p.shared = sh
	p.mu.Unlock()
}

// withdraw ends what offer began.
func (p *proxy) withdraw() {
	p.mu.Lock()
	sh := p.shared
	p.shared = nil
	p.mu.Unlock()
	if sh != nil {
		sh.Down()
	}
}

// sharing is the proxy as it is shared, or nil.
func (p *proxy) sharing() *share.Proxy {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shared
}
