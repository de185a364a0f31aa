package gatt

import (
	"slices"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
)

// ownerEvents is told by the Manager and tells the owners.
type ownerEvents struct{ s *Owners }

var _ links.Events = ownerEvents{}

// toldLocked lists the owners that hold the link, in the order in which they came.
func (s *Owners) toldLocked(d *ownedDevice) []*Owner {
	var out []*Owner
	for _, o := range s.owners {
		if u := d.uses[o]; u != nil && u.told {
			out = append(out, o)
		}
	}
	return out
}

// LinkUp implements links.Events: the owners are told as their calls of Connect are answered.
func (e ownerEvents) LinkUp(a ble.Address, mtu int) {
	e.s.mu.Lock()
	d := e.s.deviceLocked(a)
	d.up, d.mtu, d.db, d.cccds = true, mtu, nil, nil
	e.s.mu.Unlock()
	if e.s.all != nil {
		e.s.all.LinkUp(a, mtu)
	}
}

// Resolved implements links.Events.
func (e ownerEvents) Resolved(a ble.Address, db *ble.Database, mtu int) {
	e.database(a, db, mtu, func(ev links.Events) { ev.Resolved(a, db, mtu) })
}

// DatabaseChanged implements links.Events.
func (e ownerEvents) DatabaseChanged(a ble.Address, db *ble.Database) {
	e.database(a, db, 0, func(ev links.Events) { ev.DatabaseChanged(a, db) })
}

func (e ownerEvents) database(a ble.Address, db *ble.Database, mtu int, tell func(links.Events)) {
	e.s.mu.Lock()
	d := e.s.deviceLocked(a)
	d.db, d.cccds = db, cccdsOf(db)
	if mtu != 0 {
		d.mtu = mtu
	}
	told := e.s.toldLocked(d)
	e.s.mu.Unlock()
	e.each(told, tell)
}

// cccdsOf gives the value handles of the characteristics that have a CCCD, by its handle.
func cccdsOf(db *ble.Database) map[uint16]uint16 {
	out := make(map[uint16]uint16)
	for _, svc := range db.Services {
		for _, c := range svc.Characteristics {
			for _, desc := range c.Descriptors {
				if desc.UUID == ble.UUIDCCCD {
					out[desc.Handle] = c.ValueHandle
				}
			}
		}
	}
	return out
}

func (e ownerEvents) each(told []*Owner, tell func(links.Events)) {
	if e.s.all != nil {
		tell(e.s.all)
	}
	for _, o := range told {
		tell(o.cfg.Events)
	}
}

// LinkDown implements links.Events.
func (e ownerEvents) LinkDown(a ble.Address, reason ble.DisconnectReason) {
	s := e.s
	s.mu.Lock()
	d := s.deviceLocked(a)
	d.up, d.db, d.cccds = false, nil, nil
	told := s.toldLocked(d)
	for _, o := range told {
		u := d.uses[o]
		u.told, u.pairing = false, 0
		if len(u.pending) == 0 {
			delete(d.uses, o)
		}
		if !o.cfg.KeepSubscriptions {
			d.forgetSubsLocked(o)
		}
	}
	s.changedLocked(a, d)
	s.mu.Unlock()
	e.each(told, func(ev links.Events) { ev.LinkDown(a, reason) })
}

// Notified implements links.Events: those are told who subscribed, or everybody if nobody did.
func (e ownerEvents) Notified(a ble.Address, valueHandle uint16, value []byte) {
	s := e.s
	s.mu.Lock()
	d := s.deviceLocked(a)
	told := s.toldLocked(d)
	if subs := d.subs[valueHandle]; len(subs) > 0 {
		told = slices.DeleteFunc(told, func(o *Owner) bool { return subs[o] == nil || !subs[o].armed })
	}
	s.mu.Unlock()
	e.each(told, func(ev links.Events) { ev.Notified(a, valueHandle, value) })
}

// Paired implements links.Events. Everybody is told: a bond is the peripheral's, whoever holds the link.
func (e ownerEvents) Paired(a ble.Address, bonded bool) {
	e.s.mu.Lock()
	owners := slices.Clone(e.s.owners)
	e.s.mu.Unlock()
	e.each(owners, func(ev links.Events) { ev.Paired(a, bonded) })
}

// Unsubscribed implements links.Events; the Manager itself does not call it.
func (ownerEvents) Unsubscribed(ble.Address, uint16, error) {}
