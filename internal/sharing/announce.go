package sharing

import (
	"context"
	"net/netip"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/finder"
	"bluez-esphome/internal/mdns"
	"bluez-esphome/internal/share"
)

// announce tells the network of a shared proxy, as devices with ESPHome do, until ctx ends.
func (s *Sharer) announce(ctx context.Context, of share.Service) {
	log := s.opts.Logger
	a := mdns.Announced{Service: finder.Service, Instance: of.Name, Port: of.Port, Text: of.Text, Taken: func(mac string) {
		log.Warn("Another device on the network has the name of a shared proxy: hosts may take one for the other; change share.names here, or the name there",
			"name", of.Name, "mac", apiwire.Printable(mac, 17))
	}}
	if ip, err := netip.ParseAddr(of.IP); err == nil {
		a.Addrs = []netip.Addr{ip.Unmap()}
	}
	if err := mdns.NewResponder([]mdns.Announced{a}, s.opts.Interfaces, log).Run(ctx); err != nil {
		log.Warn("A shared proxy is not announced by multicast DNS; add it to the other host by address and port", "name", of.Name, "port", of.Port, "error", err)
	}
}
