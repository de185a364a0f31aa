package gatt

import (
	"context"
	"fmt"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// proxyState is what the Manager knows of one proxy. Its fields are under
// Manager.mu; proxy's methods are only called without it.
type proxyState struct {
	id    string
	name  string // for messages
	proxy Proxy
	gone  bool  // ProxyOffline was the last that was heard of its session
	hosts Hosts // who uses it besides this daemon
	slots ble.Slots
	// links holds the link or attempt of each address on this proxy.
	links map[ble.Address]*link
	// holds are the slots that are ours: reserved, in use, or not yet released.
	holds map[ble.Address]*hold
	// ghosts holds what ends the release of a slot that is not ours.
	ghosts map[ble.Address]context.CancelCauseFunc
	// foreign are the slots of another host that were logged.
	foreign map[ble.Address]bool
	// failures are recent failed attempts, see [failure].
	failures map[ble.Address]failure
	// unpairing counts requests to unpair.
	unpairing map[ble.Address]int
	trouble   Trouble // the last one
	// blindAgain is until when nobody is dialled blind through it.
	blindAgain time.Time
	warned     map[string]bool // warnings that are given once
}

// Hosts says who uses a proxy besides this daemon.
type Hosts uint8

const (
	// HostsNone is nobody: a slot that is taken for nobody here is a leftover, to be released.
	HostsNone Hosts = iota
	// HostsApart is another host, whose links are out of reach: its slots are left alone, and its devices are not dialled
	// there.
	HostsApart
	// HostsShared is the hosts of another daemon that shares the proxy, and with it the links: their slots are left alone,
	// and a device that has one is dialled there though nobody hears it and no slot is free. When to call an attempt off,
	// or to make it anew, is the affair of that daemon, which has the proxy.
	HostsShared
)

// AddProxy makes a proxy usable. Another proxy of the same ID is replaced; adding one again does what SetHosts does.
func (m *Manager) AddProxy(p Proxy, hosts Hosts) {
	online, slots := p.Online(), p.Slots()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	if old := m.proxies[p.ID()]; old != nil {
		if old.proxy == p {
			m.setHostsLocked(old, hosts)
			return
		}
		m.offlineLocked(old, fmt.Errorf("proxy %s was replaced", old.name))
	}
	ps := &proxyState{
		id: p.ID(), name: p.Name(), proxy: p, hosts: hosts, gone: !online,
		links:     make(map[ble.Address]*link),
		holds:     make(map[ble.Address]*hold),
		ghosts:    make(map[ble.Address]context.CancelCauseFunc),
		foreign:   make(map[ble.Address]bool),
		failures:  make(map[ble.Address]failure),
		unpairing: make(map[ble.Address]int),
		warned:    make(map[string]bool),
	}
	m.proxies[ps.id] = ps
	if online && slots.Known {
		m.slotsLocked(ps, slots)
	}
	m.changedLocked()
}

// RemoveProxy ends what runs through a proxy and forgets it.
func (m *Manager) RemoveProxy(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ps := m.proxies[id]
	if ps == nil {
		return
	}
	m.offlineLocked(ps, fmt.Errorf("proxy %s was removed", ps.name))
	delete(m.proxies, id)
}

// SetHosts changes what AddProxy was told.
func (m *Manager) SetHosts(id string, hosts Hosts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ps := m.proxies[id]; ps != nil {
		m.setHostsLocked(ps, hosts)
	}
}

func (m *Manager) setHostsLocked(ps *proxyState, hosts Hosts) {
	if ps.hosts == hosts {
		return
	}
	ps.hosts = hosts
	if hosts == HostsNone {
		clear(ps.foreign)
		m.reconcileLocked(ps)
	} else {
		for _, stop := range ps.ghosts {
			stop(nil)
		}
	}
	m.changedLocked()
}

// ProxyOnline: the session with a proxy came up.
func (m *Manager) ProxyOnline(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ps := m.proxies[id]
	if ps == nil || m.closed {
		return
	}
	ps.gone = false
	clear(ps.failures)
	m.spawnLocked(func(context.Context) {
		// Where the report came before this call it is only to be had here.
		slots := ps.proxy.Slots()
		m.mu.Lock()
		defer m.mu.Unlock()
		if slots.Known && !ps.slots.Known && !ps.gone {
			m.slotsLocked(ps, slots)
		}
	})
	for _, a := range m.cfg.Store.Unpairs(id) {
		m.unpairLocked(ps, a)
	}
	m.changedLocked()
}

// ProxyOffline: the session with a proxy ended, and every link through it.
func (m *Manager) ProxyOffline(id string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ps := m.proxies[id]; ps != nil {
		if err == nil {
			err = ble.ErrNotConnected
		}
		m.offlineLocked(ps, fmt.Errorf("proxy %s went offline: %w", ps.name, err))
	}
}

func (m *Manager) offlineLocked(ps *proxyState, err error) {
	ps.gone = true
	ps.slots = ble.Slots{}
	for _, l := range ps.links {
		l.loseLocked(ble.DisconnectUnknown, true, err)
	}
	ps.stopLocked()
	clear(ps.holds)
	clear(ps.foreign)
	m.changedLocked()
}

// LinkReport is fed each message 69 of a proxy, in the order of arrival.
func (m *Manager) LinkReport(id string, a ble.Address, connected bool, _ int, code int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ps := m.proxies[id]
	if ps == nil {
		return
	}
	l := ps.links[a]
	switch {
	case connected && l == nil:
		if h := ps.holds[a]; h != nil && h.releasing {
			h.timer.Stop() // an attempt that was called off came up all the same
			delete(ps.holds, a)
		}
		const why = "a link came up that nobody asked for"
		if ps.hosts == HostsShared { // reports are of what this daemon asked for; the list of slots tells nothing of it
			m.releaseGhostLocked(ps, a, why)
		} else {
			m.ghostLocked(ps, a, why)
		}
	case connected:
		l.seenUp = true
	case l == nil:
		// The second report of a disconnect, of firmware 2025.8 to 2026.7, or that of an
		// attempt that was called off.
		m.log.Debug("report of a link that is not ours", "proxy", ps.name, "device", a, "code", code)
	case l.up || l.seenUp:
		l.loseLocked(reasonOf(code), false, fmt.Errorf("%s: link ended: %s", ps.name, codeText(code)))
	}
	// Otherwise it answers the attempt, which Proxy.Connect returns.
}

// Notification is fed each message 79 of a proxy, in the order of arrival.
func (m *Manager) Notification(id string, a ble.Address, handle uint16, value []byte) {
	if f := m.notified(id, a, handle, value); f != nil {
		m.events.runClaimed(f)
	}
}

// notified returns what the caller is to run of events, if anything.
func (m *Manager) notified(id string, a ble.Address, handle uint16, value []byte) (claimed func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ps := m.proxies[id]
	if ps == nil {
		return nil
	}
	l := ps.links[a]
	if l == nil || !l.up || l.lost {
		return nil
	}
	if handle == l.serviceChanged && handle != 0 {
		l.session.rediscoverLocked(changedRange(value))
		if l.session.dev.wantLocked(handle) == 0 {
			return nil
		}
	}
	if l.db == nil || handle != l.serviceChanged && l.session.change.concernsLocked(handle) || !sameAttribute(l.session.dev.posted, l.db, handle) {
		return nil // it may be another characteristic's by now
	}
	v := slices.Clone(value)
	if l.holdLocked(handle, v) {
		return nil
	}
	tell := func() { m.cfg.Events.Notified(a, handle, v) }
	if m.events.claim(tell) {
		return tell
	}
	return nil
}

// SlotsReport is fed each message 81 of a proxy, in the order of arrival.
func (m *Manager) SlotsReport(id string, s ble.Slots) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ps := m.proxies[id]; ps != nil && !m.closed {
		m.slotsLocked(ps, s)
	}
}

// PairingReport is fed each message 85 of a proxy that answers no request of ours.
func (m *Manager) PairingReport(id string, a ble.Address, paired bool) {
	m.mu.Lock()
	ps := m.proxies[id]
	if ps == nil || !paired || ps.unpairing[a] > 0 {
		m.mu.Unlock()
		return
	}
	l := ps.links[a]
	if l == nil || l.lost || l.pairing {
		m.mu.Unlock()
		return
	}
	l.secured = true
	m.spawnLocked(func(context.Context) { m.bonded(id, a, nil, true) })
	m.mu.Unlock()
}

// Waits reports whether anybody waits for a device to be heard, or for a slot. It is cheap.
func (m *Manager) Waits() bool { return m.waiting.Load() > 0 }

// Heard tells that a device was heard; whoever waits for it need not poll for it.
func (m *Manager) Heard(a ble.Address) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.devices[a]; d != nil && d.cur != nil {
		select {
		case d.cur.heard <- struct{}{}:
		default:
		}
	}
}
