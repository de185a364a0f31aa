package gatt

import (
	"slices"

	"bluez-esphome/internal/ble"
)

// identity is what an attribute is, apart from where it is: the UUIDs of its service, of its characteristic and of
// itself.
type identity struct{ service, characteristic, attribute ble.UUID }

// identify finds the value of a characteristic, or a descriptor.
func identify(db *ble.Database, handle uint16) (identity, bool) {
	for i := range db.Services {
		s := &db.Services[i]
		for j := range s.Characteristics {
			c := &s.Characteristics[j]
			if c.ValueHandle == handle {
				return identity{s.UUID, c.UUID, c.UUID}, true
			}
			for _, d := range c.Descriptors {
				if d.Handle == handle {
					return identity{s.UUID, c.UUID, d.UUID}, true
				}
			}
		}
	}
	return identity{}, false
}

// sameAttribute reports whether whoever knows a handle from one database means the same attribute in another. A value
// is never given under another characteristic's UUID, nor written to another characteristic.
func sameAttribute(known, now *ble.Database, handle uint16) bool {
	if known == nil || known == now || handle == 0 {
		return true
	}
	was, had := identify(known, handle)
	is, has := identify(now, handle)
	return !had || has && was == is
}

// tell says that db is the database now, which from then on is the one whose handles callers use. Where no other event
// waits it does so in the caller's goroutine, which saves waking one.
func (s *session) tell(db *ble.Database, say func()) {
	m, d := s.m, s.dev
	told := func() {
		say()
		m.mu.Lock()
		defer m.mu.Unlock()
		d.told = db
	}
	m.mu.Lock()
	d.posted = db
	mine := m.events.claim(told)
	m.mu.Unlock()
	if mine {
		m.events.runClaimed(told)
	}
}

// forgetMoved drops the subscriptions of characteristics that are not where they were.
func (s *session) forgetMoved(db *ble.Database) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	s.dev.subs = slices.DeleteFunc(s.dev.subs, func(sub subscription) bool {
		if sameAttribute(s.dev.posted, db, sub.handle) {
			return false
		}
		m.log.Info("a subscription ended: the characteristic is no longer there", "device", s.addr, "handle", sub.handle)
		m.postUnarmed(&m.events, s.addr, sub.handle, errNoAttribute)
		return true
	})
}
