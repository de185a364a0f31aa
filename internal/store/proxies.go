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
		p.Adapter = s.lowest(1, func(q proxyState) int { return q.Adapter })
		if p.Adapter > maxAdapters || !s.setProxy(mac, p) {
			return 0, false
		}
	}
	return p.Adapter, true
}

// FreeAdapter takes the number of an adapter, and what was set on it, back from the proxy with that MAC.
func (s *Store) FreeAdapter(mac ble.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.st.Proxies[mac]; ok && p.Adapter != 0 {
		delete(s.st.Adapters, p.Adapter)
		p.Adapter = 0
		s.setProxy(mac, p)
	}
}

// ProxyAdapters calls f for every proxy that has the number of an adapter, the lowest first.
func (s *Store) ProxyAdapters(f func(mac ble.Address, index int, info ProxyInfo)) {
	s.mu.Lock()
	var by [maxAdapters + 1]struct {
		mac  ble.Address
		info ProxyInfo
		ok   bool
	}
	for mac, p := range s.st.Proxies {
		if p.Adapter > 0 && p.Adapter <= maxAdapters {
			e := &by[p.Adapter]
			e.mac, e.info, e.ok = mac, p.ProxyInfo, true
		}
	}
	s.mu.Unlock()
	for i, e := range by {
		if e.ok {
			f(e.mac, i, e.info)
		}
	}
}

// SetProxyInfo remembers what the proxy with that MAC said of itself.
func (s *Store) SetProxyInfo(mac ble.Address, info ProxyInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.st.Proxies[mac]; p.ProxyInfo != info {
		p.ProxyInfo = info
		s.setProxy(mac, p)
	}
}

// ShareIndex gives the number from 0 that the shared port of the proxy with that MAC is above the base
// port, always the same one; false if thousands are taken. The first time it is the first one from want on that is free.
func (s *Store) ShareIndex(mac ble.Address, want int) (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.st.Proxies[mac]
	if p.Share == 0 {
		p.Share = s.lowest(max(want, 0)+1, func(q proxyState) int { return q.Share })
		if !s.setProxy(mac, p) {
			return 0, false
		}
	}
	return p.Share - 1, true
}

func (s *Store) setProxy(mac ble.Address, p proxyState) bool {
	if _, ok := s.st.Proxies[mac]; !ok && len(s.st.Proxies) >= maxProxies {
		return false
	}
	s.st.Proxies[mac] = p
	s.touch()
	return true
}

// lowest is the lowest number from n on that no proxy has.
func (s *Store) lowest(n int, of func(proxyState) int) int {
	taken := make(map[int]bool, len(s.st.Proxies))
	for _, p := range s.st.Proxies {
		taken[of(p)] = true
	}
	for taken[n] {
		n++
	}
	return n
}
