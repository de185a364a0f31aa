package bluezshim

import (
	"runtime/debug"
	"sync"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
)

const (
	// maxNotes is how many notifications of one peripheral wait for the loop while the bus is slow: minutes of what a
	// link can carry. Further ones are dropped until some were taken, so that those that were taken are a run
	// without gaps; bluetoothd, which lives on the link itself, would stop reading it.
	maxNotes = 16384
	// maxRun is how many events are handled before the loop looks at how far behind the bus is.
	maxRun = 64
)

// linkInbox hands link events to the loop in order. Events wait in one list and one
// posted function at a time takes them, so that a burst of notifications costs one wake-up.
//
// A notification passes three queues, each of which is empty unless what is behind it is slow:
//
//	                  gatt's dispatcher        linkInbox               dbusobj's inbox
//	reader of ──add──▶ order among the ──put──▶ order among events ──▶ turns with the ──▶ loop ──▶ signal, or
//	the proxy          links' events            bound by device         clients' calls            packet of a pipe
//
//	who takes it out:  the reader itself,       the loop               whoever runs the loop: the reader,
//	                   unless somebody does                             if the note comes alone and the loop is
//	                                                                    idle; else the goroutine of Conn.Run
//
// So a notification that comes alone is on the bus before the reader reads on; those of a burst (see burstGap) are gathered
// for the loop's own goroutine.
type linkInbox struct {
	shim *Shim

	mu       sync.Mutex
	waiting  []linkEvent
	posted   bool
	lastNote time.Time
	notes    map[ble.Address]*notes // of peripherals that have some waiting
}

// A linkEvent is something to do in the loop; of is the peripheral if it is a notification.
type linkEvent struct {
	f  func()
	of *notes
}

// notes counts one peripheral's notifications that wait, and those that were dropped meanwhile.
type notes struct {
	addr             ble.Address
	waiting, dropped int
}

// put is called without locks held: the loop may run in the caller's goroutine.
func (b *linkInbox) put(f func()) {
	b.mu.Lock()
	post := b.putLocked(linkEvent{f: f})
	b.mu.Unlock()
	if post {
		b.shim.conn.PostHelp(b.drain)
	}
}

// burstGap is how close notifications follow one another in a burst. What comes alone is signalled at once by whoever brings it;
// the loop's own goroutine gathers bursts, so that many signals leave in one write.
const burstGap = time.Millisecond

// putNote is put for a notification of a.
func (b *linkInbox) putNote(a ble.Address, f func()) {
	switch post, burst := b.addNote(a, f); {
	case post && burst:
		b.shim.conn.Post(b.drain)
	case post:
		b.shim.conn.PostHelp(b.drain)
	}
}

func (b *linkInbox) addNote(a ble.Address, f func()) (post, burst bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	burst = now.Sub(b.lastNote) < burstGap
	b.lastNote = now
	n := b.notes[a]
	if n == nil {
		if b.notes == nil {
			b.notes = map[ble.Address]*notes{}
		}
		n = &notes{addr: a}
		b.notes[a] = n
	}
	if n.waiting >= maxNotes {
		if n.dropped++; n.dropped == 1 {
			b.shim.log.Warn("Notifications come faster than the bus takes them; some are dropped", "device", a.String())
		}
		return false, burst
	}
	n.waiting++
	return b.putLocked(linkEvent{f, n}), burst
}

// putLocked reports whether drain is to be posted.
func (b *linkInbox) putLocked(e linkEvent) (post bool) {
	b.waiting = append(b.waiting, e)
	post = !b.posted
	b.posted = true
	return post
}

// take returns what is to be handled now; afterwards drain is posted again if there is more.
func (b *linkInbox) take() []linkEvent {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.waiting
	if b.posted = len(list) > maxRun; b.posted {
		list, b.waiting = list[:maxRun:maxRun], list[maxRun:]
		b.shim.conn.Post(b.drain)
	} else {
		b.waiting = nil
	}
	for _, e := range list {
		if n := e.of; n != nil {
			if n.waiting--; n.waiting == 0 {
				delete(b.notes, n.addr)
				if n.dropped > 0 {
					b.shim.log.Warn("The bus takes notifications again", "device", n.addr.String(), "dropped", n.dropped)
				}
			}
		}
	}
	return list
}

func (b *linkInbox) drain() {
	for _, e := range b.take() {
		if !b.shim.closed {
			b.run(e.f)
		}
	}
}

// run keeps what one event breaks from the others.
func (b *linkInbox) run(f func()) {
	defer func() {
		if r := recover(); r != nil {
			b.shim.log.Error("panic in an event of a link", "error", r, "stack", string(debug.Stack()))
		}
	}()
	f()
}

// LinkUp implements links.Events.
func (s *Shim) LinkUp(a ble.Address, mtu int) { s.inbox.put(func() { s.linkUp(a, mtu) }) }

// Resolved implements links.Events.
func (s *Shim) Resolved(a ble.Address, db *ble.Database, mtu int) {
	s.inbox.put(func() { s.linkResolved(a, db, mtu) })
}

// LinkDown implements links.Events.
func (s *Shim) LinkDown(a ble.Address, reason ble.DisconnectReason) {
	s.inbox.put(func() { s.linkDown(a, reason) })
}

// Notified implements links.Events.
func (s *Shim) Notified(a ble.Address, valueHandle uint16, value []byte) {
	s.inbox.putNote(a, func() {
		if p := s.peers[a]; p != nil {
			if c := p.chars[valueHandle]; c != nil {
				c.notified(value)
			}
		}
	})
}

// DatabaseChanged implements links.Events.
func (s *Shim) DatabaseChanged(a ble.Address, db *ble.Database) {
	s.inbox.put(func() {
		if p := s.peers[a]; p != nil && p.connected {
			p.setDatabase(db)
		}
	})
}

// Paired implements links.Events: the link was paired, or lost its bond, without Pair having been called.
func (s *Shim) Paired(a ble.Address, bonded bool) {
	s.inbox.put(func() {
		if p := s.peers[a]; p != nil {
			p.setBonded(bonded)
		}
	})
}

// Unsubscribed implements links.Events: Notifying must not say what is not so.
func (s *Shim) Unsubscribed(a ble.Address, valueHandle uint16, _ error) {
	s.inbox.put(func() {
		if p := s.peers[a]; p != nil {
			if c := p.chars[valueHandle]; c != nil {
				c.unsubscribed()
			}
		}
	})
}

var _ links.Events = (*Shim)(nil)
