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
	toldAskers = 16  // who asked for one of them
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
	// Took is the time to the link or to the error, 0 while neither is there. Link is the number of the link, as in the
	// log, 0 without one, and Proxy the one that has it.
	Took  time.Duration
	Link  uint64
	Proxy string
	// Error says why no link came up, "" if one did. Result is the same as one of Results, "" while that is not known.
	Error  string
	Result string
	// Ended is when the link ended, zero as long as it is up, and Why says why.
	Ended time.Time
	Why   string
	// Local: it ended because somebody here wanted that.
	Local bool
	// Lost counts the notifications of the link that a program lost because it read too slowly.
	Lost uint64
}

// Try is one attempt through one proxy.
type Try struct {
	Proxy  string
	RSSI   int  // dBm, ble.KnownRSSI tells whether it is known
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
	return m.attempts(n, func(*Attempt) bool { return true })
}

// DeviceAttempts is Attempts of one device.
func (m *Manager) DeviceAttempts(a ble.Address, n int) []Attempt {
	return m.attempts(n, func(at *Attempt) bool { return at.Device == a })
}

func (m *Manager) attempts(n int, wanted func(*Attempt) bool) []Attempt {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Attempt
	for _, a := range slices.Backward(m.history) {
		if len(out) >= n {
			break
		}
		if !wanted(a) {
			continue
		}
		c := *a
		c.Asked, c.Tries = slices.Clone(a.Asked), slices.Clone(a.Tries)
		out = append(out, c)
	}
	return out
}

// AttemptsRevision is a number that is another one once anything of Attempts is.
func (m *Manager) AttemptsRevision() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.revision
}

// DeviceTrouble is the last failure of a device that is remembered: a Connect that failed, or a link that ended without
// having been asked to.
func (m *Manager) DeviceTrouble(a ble.Address) Trouble {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, at := range slices.Backward(m.history) {
		if at.Device == a {
			if t, ok := at.trouble(); ok {
				return t
			}
		}
	}
	return Trouble{}
}

// DeviceTroubles gives the DeviceTrouble of each device that had one.
func (m *Manager) DeviceTroubles() map[ble.Address]Trouble {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[ble.Address]Trouble{}
	for _, at := range m.history {
		if t, ok := at.trouble(); ok {
			out[at.Device] = t
		}
	}
	return out
}

// trouble tells what went wrong, if anything did.
func (at *Attempt) trouble() (t Trouble, ok bool) {
	switch {
	case at.Result == ResultCanceled:
		return t, false
	case at.Error != "":
		return Trouble{At: at.At.Add(at.Took), Device: at.Device, What: at.Error}, true
	case !at.Ended.IsZero() && !at.Local:
		return Trouble{At: at.Ended, Device: at.Device, Proxy: at.Proxy, What: at.Why}, true
	}
	return t, false
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
	m.revision++
	s.history = &Attempt{At: time.Now(), Device: s.addr, Via: s.via}
	if len(m.history) >= maxHistory {
		m.history = slices.Delete(m.history, 0, 1)
	}
	m.history = append(m.history, s.history)
}

// toldLocked gives what is told of a session, to be changed.
func (s *session) toldLocked() *Attempt {
	s.m.revision++
	return s.history
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
	h := s.toldLocked()
	if len(h.Tries) >= toldTries {
		h.Tries = slices.Delete(h.Tries, 0, 1)
	}
	h.Tries = append(h.Tries, t)
}

// askedBy notes who wants the link; the Manager's mutex is held.
func (at *Attempt) askedBy(who string) {
	if who != "" && len(at.Asked) < toldAskers && !slices.Contains(at.Asked, who) {
		at.Asked = append(at.Asked, who)
	}
}

// ValueLost notes that a program lost a notification of the device.
func (m *Manager) ValueLost(a ble.Address) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts.ValuesLost++
	if d := m.devices[a]; d != nil && d.cur != nil {
		d.cur.toldLocked().Lost++
	}
}

// failedLocked notes that no link came up.
func (s *session) failedLocked(err error) {
	h := s.toldLocked()
	h.Took, h.Error, h.Result = time.Since(h.At), err.Error(), resultOf(err)
	if h.Result == ResultCanceled {
		h.Error = "called off by who had asked for it"
	}
	s.m.counts.Connects[h.Result]++
}

// succeededLocked notes the link.
func (s *session) succeededLocked(l *link) {
	s.m.linked++
	l.number = s.m.linked
	h := s.toldLocked()
	h.Took, h.Link, h.Proxy, h.Result = time.Since(h.At), l.number, l.ps.name, ResultConnected
	s.m.counts.Connects[ResultConnected]++
}

// endedLocked notes the end of the link.
func (s *session) endedLocked(l *link, why string, reason ble.DisconnectReason, local bool) {
	h := s.toldLocked()
	s.m.counts.Ends[endOf(l, reason, local)]++
	h.Ended, h.Why, h.Local = time.Now(), why, local
	if l != nil && !local {
		h.Proxy = l.ps.name
		l.ps.trouble = Trouble{At: h.Ended, Device: s.addr, Proxy: l.ps.name, What: why}
	}
}
