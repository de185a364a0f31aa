package proxysim

import (
	"net"
	"net/netip"

	"bluez-esphome/internal/mdns"
)

// announcements are what the proxies that listen say by multicast DNS.
func (s *Simulation) announcements() []mdns.Announced {
	var out []mdns.Announced
	for i, ln := range s.listeners {
		if ln == nil {
			continue
		}
		out = append(out, s.proxies[i].announcement(ln.Addr()))
	}
	return out
}

// announcement is what a device says of itself; nothing in it tells that it is a Bluetooth proxy.
func (p *Proxy) announcement(addr net.Addr) mdns.Announced {
	a := mdns.Announced{Service: "_esphomelib._tcp", Instance: p.cfg.Name, Text: []string{
		"friendly_name=" + p.cfg.FriendlyName, "version=" + p.cfg.Version,
		"mac=" + p.cfg.MAC.Hex(),
		"platform=" + p.cfg.Platform, "board=" + p.cfg.Model, "network=wifi",
	}}
	if p.cfg.ProjectName != "" {
		a.Text = append(a.Text, "project_name="+p.cfg.ProjectName, "project_version="+p.cfg.ProjectVersion)
	}
	const noise = "Noise_NNpsk0_25519_ChaChaPoly_SHA256"
	switch {
	case p.cfg.PSK != nil:
		a.Text = append(a.Text, "api_encryption="+noise)
	case p.cfg.Unprovisioned:
		a.Text = append(a.Text, "api_encryption_supported="+noise)
		if p.fw.zeroKey() {
			a.Text = append(a.Text, "api_provisioning=zero-psk")
		}
	}
	if tcp, ok := addr.(*net.TCPAddr); ok {
		a.Port = uint16(tcp.Port)
		if ip, ok := netip.AddrFromSlice(tcp.IP); ok && !ip.IsUnspecified() {
			a.Addrs = []netip.Addr{ip.Unmap()}
		}
	}
	return a
}
