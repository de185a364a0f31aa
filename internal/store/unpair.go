package store

import (
	"slices"

	"bluez-esphome/internal/ble"
)

// Unpairs lists the devices whose bond the proxy with that ID is yet to drop.
func (s *Store) Unpairs(proxy string) []ble.Address {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.st.Unpair[proxy])
}

// SetUnpair adds a device to those, or takes it away. Beyond 4096 of all proxies further ones are not kept, which is
// logged.
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

// MoveUnpairs gives the devices of the proxies that match, which may be names from before IDs, to the one with that ID.
func (s *Store) MoveUnpairs(match func(proxy string) bool, id string) {
	s.mu.Lock()
	names := make([]string, 0, len(s.st.Unpair))
	for name := range s.st.Unpair {
		names = append(names, name)
	}
	s.mu.Unlock()
	for _, name := range names {
		if !match(name) {
			continue
		}
		for _, a := range s.Unpairs(name) {
			s.SetUnpair(name, a, false)
			s.SetUnpair(id, a, true)
		}
	}
}

func (s *state) unpairs() int {
	n := 0
	for _, list := range s.Unpair {
		n += len(list)
	}
	return n
}
