package att

import (
	"bluez-esphome/internal/ble"
)

// Bits of a Client Characteristic Configuration (Bluetooth Core, Vol 3 Part G, 3.3.3.3).
const (
	bitNotify   = 0x0001
	bitIndicate = 0x0002
)

// maxWaiting bounds the indications that wait for the confirmation of another.
const maxWaiting = 256

// Notified passes on a notification or an indication of the peripheral, as the host asked for it on this link.
func (s *Server) Notified(valueHandle uint16, value []byte) {
	if s.closed || s.table == nil || valueHandle == s.table.changed {
		// Of a change of the database the host is told once the new one is known: DatabaseChanged.
		return
	}
	a := s.table.at(valueHandle)
	if a == nil || a.value != valueHandle {
		return
	}
	op, bits := byte(ble.ATTOpNotification), s.cccds[valueHandle]
	switch {
	case bits&bitNotify != 0:
	case bits&bitIndicate != 0:
		op = ble.ATTOpIndication
	default:
		return
	}
	pdu := append([]byte{op, byte(valueHandle), byte(valueHandle >> 8)}, value[:min(len(value), s.mtu-3)]...)
	if op == ble.ATTOpNotification {
		s.cfg.Send(pdu)
		return
	}
	s.indicate(pdu)
}

// Unsubscribed notes that a characteristic that the host configured does not notify any more.
func (s *Server) Unsubscribed(valueHandle uint16) { delete(s.cccds, valueHandle) }

// indication is the indication that is not confirmed, and those behind it: there is one at a time (Bluetooth Core, Vol
// 3 Part F, 3.3.2).
type indication struct {
	stop    func() // stops the wait for the confirmation; nil: none is under way
	waiting [][]byte
}

// next ends the wait for a confirmation. It gives the indication that is to be sent now, nil if there is none.
func (i *indication) next() []byte {
	if i.stop == nil {
		return nil
	}
	i.stop()
	i.stop = nil
	if len(i.waiting) == 0 {
		return nil
	}
	pdu := i.waiting[0]
	i.waiting = i.waiting[1:]
	return pdu
}

// end drops all indications.
func (i *indication) end() {
	i.waiting = nil
	i.next()
}

// indicate sends an indication once the one before it is confirmed.
func (s *Server) indicate(pdu []byte) {
	i := &s.indication
	switch {
	case i.stop == nil:
		s.cfg.Send(pdu)
		over := false
		stop := s.cfg.After(confirmWait, func() {
			if !over && !s.closed {
				s.end("it did not confirm an indication")
			}
		})
		i.stop = func() {
			over = true
			stop()
		}
	case len(i.waiting) < maxWaiting:
		i.waiting = append(i.waiting, pdu)
	default:
		s.end("it does not confirm indications as fast as the peripheral sends them")
	}
}

// confirmed takes the host's confirmation.
func (s *Server) confirmed() {
	if pdu := s.indication.next(); pdu != nil {
		s.indicate(pdu)
	}
}

// mayIndicateChange reports whether the host wants to know of changes of the database, and can be told.
func (s *Server) mayIndicateChange() bool { return s.seen.Changes && s.table.changed != 0 }

// indicateChange tells the host that anything may have changed, and so that what it knew of handles that are no more
// means nothing.
func (s *Server) indicateChange() {
	h := s.table.changed
	s.indicate([]byte{ble.ATTOpIndication, byte(h), byte(h >> 8), 0x01, 0x00, 0xff, 0xff})
	if !s.closed {
		s.forgetGone()
		s.keepSeen()
	}
}

// DatabaseChanged gives the server another database on the same link. A host that does not want to know of changes has
// to come back: it would use handles that mean nothing, or something else, for ever.
func (s *Server) DatabaseChanged(db *ble.Database) {
	if s.closed || s.table == nil {
		return
	}
	before := s.table
	s.adopt(db)
	for h := range s.cccds {
		was, is := before.at(h), s.table.at(h)
		if is == nil || was == nil || was.uuid != is.uuid || is.value != h {
			delete(s.cccds, h)
		}
	}
	s.prepared = nil
	switch {
	case !s.outOfDate():
	case !s.mayIndicateChange():
		s.end("the peripheral's database changed, and it does not want to be told")
	case s.request != nil:
		s.announce = true // after the answer, which may still be about the old one
	default:
		s.indicateChange()
	}
}
