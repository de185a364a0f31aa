package bluezshim

import (
	"sync"

	"bluez-esphome/internal/ble"
)

// linkInbox hands link events to the loop in order. Events wait in one list and one
// posted function takes them all, so that a burst of notifications costs one wake-up.
type linkInbox struct {
	shim *Shim

	mu      sync.Mutex
	waiting []func()
}

func (b *linkInbox) put(f func()) {
	b.mu.Lock()
	b.waiting = append(b.waiting, f)
	first := len(b.waiting) == 1
	b.mu.Unlock()
	if first {
		b.shim.conn.Post(b.drain)
	}
}

func (b *linkInbox) drain() {
	b.mu.Lock()
	list := b.waiting
	b.waiting = nil
	b.mu.Unlock()
	for _, f := range list {
		if !b.shim.closed {
			f()
		}
	}
}

// LinkUp implements LinkEvents.
func (s *Shim) LinkUp(a ble.Address, mtu int) { s.inbox.put(func() { s.linkUp(a, mtu) }) }

// Resolved implements LinkEvents.
func (s *Shim) Resolved(a ble.Address, db *ble.Database, mtu int) {
	s.inbox.put(func() { s.linkResolved(a, db, mtu) })
}

// LinkDown implements LinkEvents.
func (s *Shim) LinkDown(a ble.Address, reason ble.DisconnectReason) {
	s.inbox.put(func() { s.linkDown(a, reason) })
}

// Notified implements LinkEvents.
func (s *Shim) Notified(a ble.Address, valueHandle uint16, value []byte) {
	s.inbox.put(func() {
		if p := s.peers[a]; p != nil {
			if c := p.chars[valueHandle]; c != nil {
				c.notified(value)
			}
		}
	})
}

// DatabaseChanged implements LinkEvents.
func (s *Shim) DatabaseChanged(a ble.Address, db *ble.Database) {
	s.inbox.put(func() {
		if p := s.peers[a]; p != nil && p.connected {
			p.setDatabase(db)
		}
	})
}

// Paired implements LinkEvents: the link was paired, or lost its bond, without Pair having been called.
func (s *Shim) Paired(a ble.Address, bonded bool) {
	s.inbox.put(func() {
		if p := s.peers[a]; p != nil {
			p.setBonded(bonded)
		}
	})
}

var _ LinkEvents = (*Shim)(nil)
