package bluezshim

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
)

// A notification waits in one queue on its way from a proxy to the bus, that of dbusobj:
//
//	reader of ──▶ gatt's dispatcher ────▶ dbusobj's inbox ──────▶ loop ──▶ signal, or
//	the proxy     one event at a time,    order of events, turns          packet of a pipe
//	              in the links' order     with the clients' calls
//
//	who takes it  the reader itself: it   who runs the loop: the reader itself, if the notification comes
//	further:      waits there only while  alone and the loop is idle; else the goroutine of Conn.Run, or
//	              another event is told   whoever runs the loop already
//
// So a notification that comes alone is on the bus before the reader reads on. Those of a burst (burstGap) are left to
// the loop's own goroutine, which signals many with one write. How many notifications of one peripheral wait is bounded
// (maxNotes); between them and the clients' calls, dbusobj's inbox takes turns (postTurn).

// post runs f in the loop after the events before it, unless the Shim is closed by then. The caller must hold no lock:
// the loop may run in its goroutine.
func (s *Shim) post(f func()) {
	s.conn.PostHelp(func() {
		if !s.closed {
			f()
		}
	})
}

// LinkUp implements links.Events. The answer to Connect, which follows, goes out with it.
func (s *Shim) LinkUp(a ble.Address, mtu int) {
	s.conn.PostFirst(func() {
		if !s.closed {
			s.linkUp(a, mtu)
		}
	})
}

// Resolved implements links.Events.
func (s *Shim) Resolved(a ble.Address, db *ble.Database, mtu int) {
	s.post(func() { s.linkResolved(a, db, mtu) })
}

// LinkDown implements links.Events.
func (s *Shim) LinkDown(a ble.Address, reason ble.DisconnectReason) {
	s.post(func() {
		s.notes.forget(a)
		s.linkDown(a, reason)
	})
}

// Notified implements links.Events.
func (s *Shim) Notified(a ble.Address, valueHandle uint16, value []byte) {
	n, burst := s.notes.add(a)
	if n == nil {
		return
	}
	tell := func() {
		s.notes.taken(n)
		if p := s.peers[a]; p != nil && !s.closed {
			if c := p.chars[valueHandle]; c != nil {
				c.notified(value)
			}
		}
	}
	if burst {
		s.conn.Post(tell)
	} else {
		s.conn.PostHelp(tell)
	}
}

// DatabaseChanged implements links.Events.
func (s *Shim) DatabaseChanged(a ble.Address, db *ble.Database) {
	s.post(func() {
		if p := s.peers[a]; p != nil && p.connected {
			p.setDatabase(db)
		}
	})
}

// Paired implements links.Events: the link was paired, or lost its bond, without Pair having been called.
func (s *Shim) Paired(a ble.Address, bonded bool) {
	s.post(func() {
		if p := s.peers[a]; p != nil {
			p.setBonded(bonded)
		}
	})
}

// Unsubscribed implements links.Events: Notifying must not say what is not so.
func (s *Shim) Unsubscribed(a ble.Address, valueHandle uint16, _ error) {
	s.post(func() {
		if p := s.peers[a]; p != nil {
			if c := p.chars[valueHandle]; c != nil {
				c.unsubscribed()
			}
		}
	})
}

var _ links.Events = (*Shim)(nil)
