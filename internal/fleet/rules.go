package fleet

import (
	"strings"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/store"
)

// nobody begins the IDs that stand for names that mean no proxy, or none yet: a device that is pinned to one is not
// dialled through another.
const nobody = "nobody is "

// Rule is what the present configuration says of a device, with the IDs of the proxies that it names.
func (s *Set) Rule(a ble.Address) gatt.Rule {
	for _, d := range s.cfg.Live().Devices {
		if d.Address != a {
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		r := gatt.Rule{Prefer: s.resolveAll(d.Prefer), Deny: s.resolveAll(d.Deny)}
		if d.Pin != "" {
			r.Pin = s.resolve(d.Pin)
		}
		return r
	}
	return gatt.Rule{}
}

// IDs gives the IDs of the proxies that the configuration means by names. A name that means nobody yet has an ID that
// no proxy has.
func (s *Set) IDs(names []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resolveAll(names)
}

func (s *Set) resolveAll(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = s.resolve(n)
	}
	return out
}

// resolve gives the ID of the proxy that a rule names: of the entry with that name, else of the one without a name
// whose host has it as its first label, else of the one without a name whose device calls itself so. Of several that
// claim a name those with a key come first, and while it is not known what one with a key calls itself, no one without
// gets it. A proxy that was found is never meant: whoever is in the network can announce any name. s.mu is held.
func (s *Set) resolve(name string) string {
	var byHost, keyed, plain *Proxy
	unknown := false
	for _, p := range s.list {
		if p.instance != "" {
			continue
		}
		if p.cfg.Name != "" {
			if p.cfg.Name == name {
				return p.idOr(name)
			}
			continue
		}
		claims := s.claimed(p)
		switch {
		case strings.EqualFold(hostLabel(p.cfg.Host), name):
			byHost = first(byHost, p)
		case p.cfg.NoisePSK.IsSet() && claims == name:
			keyed = first(keyed, p)
		case p.cfg.NoisePSK.IsSet() && claims == "":
			unknown = true
		case claims == name:
			plain = first(plain, p)
		}
	}
	switch {
	case byHost != nil:
		return byHost.idOr(name)
	case keyed != nil:
		return keyed.idOr(name)
	case plain != nil && !unknown:
		return plain.idOr(name)
	}
	return nobody + name
}

func first(p, q *Proxy) *Proxy {
	if p != nil {
		return p
	}
	return q
}

func (p *Proxy) idOr(name string) string {
	if id := p.ID(); id != "" {
		return id
	}
	return nobody + name
}

// claimed is what the device of a configured proxy calls itself, in this run or in the last one. s.mu is held.
func (s *Set) claimed(p *Proxy) (name string) {
	name = p.Proxy.Info().Name
	if name != "" {
		return name
	}
	s.cfg.Store.Proxies(func(_ ble.Address, info store.ProxyInfo) {
		if info.Endpoint == HostPort(p.cfg) {
			name = info.Name
		}
	})
	return name
}

// IDOf gives the ID of the proxy that a record of an earlier version of this program names: those had names of proxies.
// What is an ID already is returned as it is.
func (s *Set) IDOf(name string) string {
	if _, err := ble.ParseAddress(name); err == nil || name == "" || strings.HasPrefix(name, "at ") || strings.HasPrefix(name, "found at ") {
		return name
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if id := s.resolve(name); !strings.HasPrefix(id, nobody) {
		return id
	}
	for _, p := range s.list { // with a key it is as good as a configured one
		if p.instance != "" && p.cfg.NoisePSK.IsSet() && p.Proxy.Info().Name == name {
			return p.idOr(name)
		}
	}
	return name
}

// meant reports whether the configuration, or a proxy that it lists, means somebody by a name. s.mu is held.
func (s *Set) meant(name string) bool {
	for _, d := range s.cfg.Live().Devices {
		for _, n := range append(append([]string{d.Pin}, d.Prefer...), d.Deny...) {
			if n == name {
				return true
			}
		}
	}
	for _, p := range s.list {
		if p.instance == "" && (p.cfg.Name == name || s.claimed(p) == name) {
			return true
		}
	}
	return false
}

// NoSlot is what the proxy with that ID is configured to do without a free connection slot.
func (s *Set) NoSlot(id string) gatt.NoSlot {
	if p := s.ByID(id); p != nil {
		switch {
		case p.cfg.OnNoSlot == config.NoSlotFail:
			return gatt.NoSlotFail
		case p.cfg.HostsWait:
			return gatt.NoSlotWaitAll
		}
	}
	return gatt.NoSlotWait
}
