package store

import (
	"slices"

	"bluez-esphome/internal/ble"
)

// Unpairs lists the devices whose bond the proxy of that name is yet to drop.
func (s *Store) Unpairs(proxy string) []ble.Address {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.st.Unpair[proxy])
}

// SetUnpair adds a device to those, or takes it away. Beyond 4096 of all proxies further ones are not kept, which is logged.
func (s *Store) SetUnpair(proxy string, a ble.Address, pending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.st.Unpair[proxy]
	i := slices.Index(list, a)
	switch {
	case pending == (i >= 0):
		return
	case !pending && len(list) == 1:
		delete(s.st.Unpair, proxy)
	case !pending:
		s.st.Unpair[proxy] = slices.Concat(list[:i], list[i+1:])
	case s.st.unpairs() >= maxUnpairs:
		s.log.Warn("A bond will stay on its proxy: too many others wait to be dropped", "device", a, "proxy", proxy, "limit", maxUnpairs)
		return
	default:
		s.st.Unpair[proxy] = append(slices.Clone(list), a)
	}
	s.touch()
}

func (s *state) unpairs() int {
	n := 0
	for _, list := range s.Unpair {
		n += len(list)
	}
	return n
}
