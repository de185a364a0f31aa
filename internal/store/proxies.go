package store

import (
	"time"

	"bluez-esphome/internal/ble"
)

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

// day is the number of a day, from 1970.
func day(t time.Time) int { return int(t.Unix() / (24 * 60 * 60)) }

// SetProxyInfo remembers what the proxy with that MAC said of itself, and that it is used at that time.
func (s *Store) SetProxyInfo(mac ble.Address, info ProxyInfo, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.st.Proxies[mac]; p.ProxyInfo != info || p.Used != day(now) {
		p.ProxyInfo, p.Used = info, day(now)
		s.setProxy(mac, p)
	}
}

// Proxies calls f for every proxy that is remembered, in no particular order. f may call the Store.
func (s *Store) Proxies(f func(mac ble.Address, info ProxyInfo)) {
	s.mu.Lock()
	all := cloneMap(s.st.Proxies)
	s.mu.Unlock()
	for mac, p := range all {
		f(mac, p.ProxyInfo)
	}
}

// MoveProxy gives what is remembered of one proxy, its numbers above all, to another one that took its place in the
// configuration, unless that has something already.
func (s *Store) MoveProxy(from, to ble.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.st.Proxies[from]
	if _, taken := s.st.Proxies[to]; !ok || taken {
		return
	}
	delete(s.st.Proxies, from)
	s.st.Proxies[to] = p
	s.touch()
}

// ForgetProxies drops the proxies that were not used for that long: their adapters' and ports' numbers are free again.
// For proxies about which it is not known, the time begins now.
func (s *Store) ForgetProxies(now time.Time, unused time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for mac, p := range s.st.Proxies {
		switch {
		case p.Used == 0 || p.Used > day(now): // a clock that was wrong
			p.Used = day(now)
			s.st.Proxies[mac] = p
			s.touch()
		case p.Used < day(now.Add(-unused)):
			if p.Adapter != 0 {
				delete(s.st.Adapters, p.Adapter)
			}
			delete(s.st.Proxies, mac)
			s.touch()
		}
	}
}

// ShareIndex gives the number from 0 that the shared port of the proxy with that MAC is above the base
// port, always the same one; false if thousands are taken. The first time it is the first one from want on that is
// free.
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
