package store

import "bluez-esphome/internal/ble"

// maxAdapters is how many proxies get an adapter of their own: several clients take a single digit
// for granted, hci0 to hci8.
const maxAdapters = 8

// ProxyAdapter gives the number N of the adapter hciN of the proxy with that MAC, 1…8, always the same
// one; false if all eight are taken.
func (s *Store) ProxyAdapter(mac ble.Address) (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.st.Proxies[mac]
	if p.Adapter == 0 {
		p.Adapter = s.lowest(func(q proxyState) int { return q.Adapter })
		if p.Adapter > maxAdapters || !s.setProxy(mac, p) {
			return 0, false
		}
	}
	return p.Adapter, true
}

// ShareIndex gives the number from 0 that the shared port of the proxy with that MAC is above the base
// port, always the same one; false if thousands are taken.
func (s *Store) ShareIndex(mac ble.Address) (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.st.Proxies[mac]
	if p.Share == 0 {
		p.Share = s.lowest(func(q proxyState) int { return q.Share })
		if !s.setProxy(mac, p) {
			return 0, false
		}
	}
	return p.Share - 1, true
}

// ForgetProxy frees the numbers of a proxy that is no longer configured.
func (s *Store) ForgetProxy(mac ble.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.st.Proxies[mac]; ok {
		delete(s.st.Proxies, mac)
		s.touch()
	}
}

// Proxies lists the MACs that have numbers.
func (s *Store) Proxies() []ble.Address {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]ble.Address, 0, len(s.st.Proxies))
	for mac := range s.st.Proxies {
		out = append(out, mac)
	}
	return out
}

func (s *Store) setProxy(mac ble.Address, p proxyState) bool {
	if _, ok := s.st.Proxies[mac]; !ok && len(s.st.Proxies) >= maxProxies {
		return false
	}
	s.st.Proxies[mac] = p
	s.touch()
	return true
}

// lowest is the lowest number from 1 that no proxy has.
func (s *Store) lowest(of func(proxyState) int) int {
	taken := make(map[int]bool, len(s.st.Proxies))
	for _, p := range s.st.Proxies {
		taken[of(p)] = true
	}
	n := 1
	for taken[n] {
		n++
	}
	return n
}
