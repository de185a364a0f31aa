package gatt

import (
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// Bounds of what is remembered for an operator.
const (
	maxHistory = 256 // calls of Connect
	toldTries  = 16  // tries of one of them
)

// Attempt is one call of Connect and what became of it, in words for an operator.
type Attempt struct {
	At     time.Time
	Device ble.Address
	Via    string   // the only proxy that was allowed, "" for any
	Asked  []string // who wanted it, if that is known
	Tries  []Try    // the last ones, in order
	// SlotWait is for how long it waited for a connection slot.
	SlotWait time.Duration
	// Took is the time to the link or to the error, 0 while neither is there. Link is the number of the link, as in the log,
	// 0 without one, and Proxy the one that has it.
	Took  time.Duration
	Link  uint64
	Proxy string
	// Error says why no link came up, "" if one did.
	Error string
	// Ended is when the link ended, zero as long as it is up, and Why says why.
	Ended time.Time
	Why   string
	// Local: it ended because somebody here wanted that.
	Local bool
}

// Try is one attempt through one proxy.
type Try struct {
	Proxy  string
	RSSI   int  // dBm, -127 unknown
	Blind  bool // the device was not heard
	Cached bool // the services were not to be listed
	Took   time.Duration
	Result string // "connected", or what the proxy said
}

// Trouble is the last thing that went wrong with a device or through a proxy; zero if nothing did.
type Trouble struct {
	At     time.Time
	Device ble.Address
	Proxy  string // "" if it was none's
	What   string
}

// Attempts lists the last calls of Connect, at most n, the newest first.
func (m *Manager) Attempts(n int) []Attempt {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Attempt
	for _, a := range slices.Backward(m.history) {
		if len(out) >= n {
			break
		}
		c := *a
		c.Asked, c.Tries = slices.Clone(a.Asked), slices.Clone(a.Tries)
		out = append(out, c)
	}
	return out
}

// DeviceTrouble is the last failure of a device that is remembered: a Connect that failed, or a link that ended without having been
// asked to.
func (m *Manager) DeviceTrouble(a ble.Address) Trouble {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, at := range slices.Backward(m.history) {
		switch {
		case at.Device != a:
		case at.Error != "":
			return Trouble{At: at.At.Add(at.Took), Device: a, What: at.Error}
		case !at.Ended.IsZero() && !at.Local:
			return Trouble{At: at.Ended, Device: a, Proxy: at.Proxy, What: at.Why}
		}
	}
	return Trouble{}
}

// ProxyTrouble is the last failure of an attempt or a link through a proxy.
func (m *Manager) ProxyTrouble(name string) Trouble {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ps := m.proxies[name]; ps != nil {
		return ps.trouble
	}
	return Trouble{}
}

// recordLocked begins the history of a session.
func (m *Manager) recordLocked(s *session) {
	s.history = &Attempt{At: time.Now(), Device: s.addr, Via: s.via}
	if len(m.history) >= maxHistory {
		m.history = slices.Delete(m.history, 0, 1)
	}
	m.history = append(m.history, s.history)
}

// tried notes one attempt through a proxy; err is nil if the link came up.
func (s *session) tried(c *candidate, l *link, begun time.Time, err error) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	t := Try{Proxy: c.ps.name, RSSI: c.rssi, Blind: c.blind, Cached: l != nil && l.cached, Took: time.Since(begun), Result: "connected"}
	if err != nil {
		t.Result = said(err)
		c.ps.trouble = Trouble{At: time.Now(), Device: s.addr, Proxy: c.ps.name, What: t.Result}
	}
	h := s.history
	if len(h.Tries) >= toldTries {
		h.Tries = slices.Delete(h.Tries, 0, 1)
	}
	h.Tries = append(h.Tries, t)
}

// succeededLocked notes the link.
func (s *session) succeededLocked(l *link) {
	s.m.linked++
	l.number = s.m.linked
	s.history.Took, s.history.Link, s.history.Proxy = time.Since(s.history.At), l.number, l.ps.name
}

// endedLocked notes the end of the link.
func (s *session) endedLocked(l *link, why string, local bool) {
	h := s.history
	h.Ended, h.Why, h.Local = time.Now(), why, local
	if l != nil && !local {
		h.Proxy = l.ps.name
		l.ps.trouble = Trouble{At: h.Ended, Device: s.addr, Proxy: l.ps.name, What: why}
	}
}
