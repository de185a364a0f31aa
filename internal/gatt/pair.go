package gatt

import (
	"context"
	"errors"
	"fmt"

	"bluez-esphome/internal/ble"
)

// wantsSecurity: the peripheral asks for an encrypted link.
func wantsSecurity(err error) bool {
	return errors.Is(err, ble.ATTAuthentication) || errors.Is(err, ble.ATTEncryption)
}

// raiseSecurity pairs on l, once per link, as bluetoothd 5.87 raises the link's security
// before it reports such an error. It reports whether the operation, which is the party's, is worth repeating.
func (s *session) raiseSecurity(ctx context.Context, l *link, party *Owner) bool {
	m := s.m
	if !l.ps.proxy.Features().Has(ble.FeaturePairing) {
		return false
	}
	holder := m.record(s.addr).Bonded
	switch {
	case holder == "" && !m.cfg.MayPair(s.addr):
		return false
	case holder != "" && holder != l.ps.id: // the bond's keys are there; nobody pairs anew unasked
		m.log.Warn("the peripheral wants a paired link, and its bond is with another proxy: connect through that one, or remove the device and "+
			"pair it again", "device", s.addr, "proxy", l.ps.name, "bond", m.proxyName(holder))
		return false
	}
	m.mu.Lock()
	done := l.secured
	l.secured, l.pairing = true, true
	m.mu.Unlock()
	if done {
		m.mu.Lock()
		l.pairing = false
		m.mu.Unlock()
		return false
	}
	err := l.ps.proxy.Pair(ctx, s.addr)
	m.mu.Lock()
	l.pairing = false
	m.mu.Unlock()
	if err != nil {
		m.log.Warn("the peripheral wants a paired link and pairing failed", "device", s.addr, "proxy", l.ps.name, "error", err)
		return false
	}
	m.bonded(l.ps.id, s.addr, party, true)
	return true
}

// proxyName is the name of the proxy with that ID, or the ID where that was never online.
func (m *Manager) proxyName(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ps := m.proxies[id]; ps != nil {
		return ps.name
	}
	return id
}

// bonded keeps which proxy has the bond, and which party made it: party, or nil where the peripheral asked for it.
// unasked tells the listener, who did not ask for it.
func (m *Manager) bonded(proxy string, a ble.Address, party *Owner, unasked bool) {
	by := ""
	if party != nil {
		by = party.cfg.Party
	} else {
		by = m.bonderOf(a)
	}
	news := false
	m.updateRecord(a, func(r *Record) {
		news = r.Bonded == ""
		if r.Bonded != "" && r.Bonded != proxy {
			m.log.Info("the bond moved to another proxy", "device", a, "from", r.Bonded, "to", proxy)
		}
		if r.Bonded == "" || r.BondedBy == "" { // who pairs again what another bonded does not take it over
			r.BondedBy = by
		}
		r.Bonded = proxy
	})
	if news && unasked {
		m.events.post(func() { m.cfg.Events.Paired(a, true) })
	}
}

// Pair pairs over the link that is up; done(nil) means bonded. A failure is a
// *ble.PairError; ble.ErrNotSupported where the proxy cannot pair.
func (m *Manager) Pair(a ble.Address, done func(error)) { m.pair(nil, a, done) }

func (m *Manager) pair(party *Owner, a ble.Address, done func(error)) {
	m.enqueue(a, &op{
		party: party,
		pair:  true,
		run: func(ctx context.Context, l *link) error {
			p := l.ps.proxy
			if !p.Features().Has(ble.FeaturePairing) {
				err := fmt.Errorf("cannot pair %s: proxy %s with ESPHome %s has no pairing: %w",
					a, p.Name(), p.Version(), ble.ErrNotSupported)
				m.log.Warn("no pairing", "device", a, "proxy", p.Name(), "error", err)
				return err
			}
			m.mu.Lock()
			l.pairing = true
			m.mu.Unlock()
			err := p.Pair(ctx, a)
			m.mu.Lock()
			l.pairing = false
			l.secured = l.secured || err == nil
			if err == nil && party != nil {
				l.paired = addOwner(l.paired, party)
			}
			m.mu.Unlock()
			if err == nil {
				m.bonded(p.ID(), a, party, false)
			}
			return err
		},
		done: done,
	})
}

// Forget unpairs where the bond is and drops the cached database; the subscriptions are the affair of their owners. A
// proxy that is offline, or was not there yet, is told when it is, in a later run if need be.
func (m *Manager) Forget(a ble.Address) {
	holder := m.record(a).Bonded
	m.recMu.Lock()
	m.cfg.Store.Save(a, Record{})
	m.recMu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	ps := m.proxies[holder]
	switch {
	case holder == "":
	case ps == nil || ps.gone:
		m.log.Info("the proxy that holds the bond is offline: it is told to drop it when it is back", "device", a, "proxy", holder)
		m.cfg.Store.SetUnpair(holder, a, true)
	default:
		m.unpairLocked(ps, a)
	}
}

// Unpair has the named proxy drop its bond with a and waits for the answer; everything else that is known of a stays.
// Without a name it is the proxy that holds the bond, or else the link. A proxy that is not there is
// ble.ErrNotConnected.
func (m *Manager) Unpair(ctx context.Context, a ble.Address, proxy string) error {
	if proxy == "" {
		proxy = m.bondHolder(a)
		if proxy == "" {
			return fmt.Errorf("cannot unpair %s: no proxy holds a bond with it: %w", a, ble.ErrNotConnected)
		}
	}
	m.mu.Lock()
	ps := m.proxies[proxy]
	if ps == nil || ps.gone || m.closed {
		m.mu.Unlock()
		return fmt.Errorf("cannot unpair %s: proxy %s is offline: %w", a, proxy, ble.ErrNotConnected)
	}
	ps.unpairing[a]++ // its answer may look like a report of a new bond
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, unpairWait)
	defer cancel()
	err := ps.proxy.Unpair(ctx, a)
	m.mu.Lock()
	ps.unpairing[a]--
	if ps.unpairing[a] <= 0 {
		delete(ps.unpairing, a)
	}
	if l := ps.links[a]; l != nil && err == nil {
		l.secured = false
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	m.updateRecord(a, func(r *Record) {
		if r.Bonded == proxy {
			r.Bonded, r.BondedBy = "", ""
		}
	})
	return nil
}

// bondHolder names the proxy that has the bond with a, or else the link to it, or is empty.
func (m *Manager) bondHolder(a ble.Address) string {
	if r := m.record(a); r.Bonded != "" {
		return r.Bonded
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.devices[a]; d != nil && d.cur != nil && d.cur.link != nil {
		return d.cur.link.ps.id
	}
	return ""
}

// unpairLocked has a proxy drop its bond, later if its session or this run ends before the answer. Up to 2026.7
// firmware answers with message 85, which then reports no pairing.
func (m *Manager) unpairLocked(ps *proxyState, a ble.Address) {
	started := m.spawnLocked(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, unpairWait)
		defer cancel()
		err := ps.proxy.Unpair(ctx, a)
		m.mu.Lock()
		defer m.mu.Unlock()
		ps.unpairing[a]--
		if ps.unpairing[a] <= 0 {
			delete(ps.unpairing, a)
		}
		later := errors.Is(err, ble.ErrNotConnected) || errors.Is(err, context.Canceled)
		m.cfg.Store.SetUnpair(ps.id, a, later)
		if err != nil {
			m.log.Warn("cannot unpair", "device", a, "proxy", ps.name, "error", err, "again", later)
		}
	})
	if started {
		ps.unpairing[a]++
	}
}
