package gatt

import (
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/ble"
)

// evidence says why a cached database may be taken for the one that the peripheral has now. Without any the services
// are listed anew: a peripheral that was updated, or booted into another image, says so to nobody.
type evidence uint8

const (
	noEvidence evidence = iota
	// byHash: the Database Hash is still to be read and must equal the one of the cache (Bluetooth Core, Vol 3
	// Part G, 7.3).
	byHash
	// byBond: a bonded peripheral indicates Service Changed to a client that was away (Bluetooth Core, Vol 3 Part G,
	// 2.5.2).
	byBond
	// byMoment: the link was lost moments ago because its proxy went, and another proxy hears the device: it did not
	// restart.
	byMoment
)

func (e evidence) String() string {
	return []string{"none", "database hash", "bond", "link of moments ago"}[e]
}

// momentsAgo is for how long the link of a proxy that went speaks for the database, and how lately the device must have
// been heard: a device that boots into another image is silent for longer. After more it may have done so unheard,
// since nobody hears it while it is connected, nor between its adverts.
const momentsAgo = time.Second

// evidence is what speaks for the cached database on a link through ps.
func (dl *dialler) evidence(ps *proxyState) evidence {
	rec := &dl.rec
	if dl.fresh || rec.Stale || !rec.Complete || rec.Database == nil || rec.MTU[ps.id] < ble.MinMTU {
		return noEvidence
	}
	if dl.s.m.contradicted(dl.s.addr, rec) != "" {
		return noEvidence
	}
	changes := rec.Database.Find(ble.UUIDServiceChanged)
	switch {
	case len(rec.Hash) > 0 && rec.Database.Find(ble.UUIDDatabaseHash) != nil:
		return byHash
	case rec.Bonded != "" && rec.Bonded == ps.id && rec.Armed == ps.id && changes != nil:
		return byBond
	case dl.momentAgo():
		return byMoment
	}
	return noEvidence
}

// momentAgo reports whether a proxy took the link with it moments ago and the device is heard.
func (dl *dialler) momentAgo() bool {
	m, a := dl.s.m, dl.s.addr
	m.mu.Lock()
	lost := dl.s.dev.lost
	m.mu.Unlock()
	now := time.Now()
	if lost.IsZero() || now.Sub(lost) > momentsAgo {
		return false
	}
	return slices.ContainsFunc(m.cfg.Air.Paths(a), func(p Path) bool { return now.Sub(p.LastHeard) <= momentsAgo })
}

// contradicted says what in the air speaks against the cached database, "" for nothing: another name than at the time,
// or a service that neither was advertised then nor is in the database. Many devices advertise what is no service of
// theirs.
func (m *Manager) contradicted(a ble.Address, rec *Record) string {
	name := m.cfg.Name(a)
	if name != "" && rec.Name != "" && !strings.HasPrefix(name, rec.Name) && !strings.HasPrefix(rec.Name, name) {
		return "it has another name"
	}
	for _, u := range m.cfg.Expected(a) {
		if !slices.Contains(rec.Advertised, u) && !slices.ContainsFunc(rec.Database.Services, func(s ble.Service) bool { return s.UUID == u }) {
			return "it advertises the service " + u.String()
		}
	}
	return ""
}

// maxAdvertised bounds the services that are remembered as advertised.
const maxAdvertised = 64

// learned keeps the database of a link, with what the air says of the device at this time.
func (m *Manager) learned(a ble.Address, db *ble.Database, complete bool) {
	name, advertised := m.cfg.Name(a), m.cfg.Expected(a)
	advertised = slices.Clone(advertised[:min(len(advertised), maxAdvertised)])
	m.updateRecord(a, func(r *Record) {
		r.Database, r.Complete, r.Hash, r.Stale = db, complete, nil, false
		r.Name, r.Advertised = name, advertised
	})
}

// armed keeps that a bonded peripheral will indicate Service Changed, or not.
func (s *session) noteArmed(l *link) {
	rec := s.m.record(s.addr)
	holder := ""
	if rec.Bonded == l.ps.id && l.serviceChanged != 0 && l.armed[l.serviceChanged].on() {
		holder = l.ps.id
	}
	if rec.Armed != holder {
		s.m.updateRecord(s.addr, func(r *Record) { r.Armed = holder })
	}
}
