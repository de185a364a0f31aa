package att

import (
	"slices"

	"bluez-esphome/internal/ble"
)

// Bounds of what one host may prepare. The longest value in the shortest bearer takes 29 parts.
const (
	maxParts    = 64
	maxPrepared = 2 * ble.MaxAttribute // bytes
)

// part is one Prepare Write.
type part struct {
	handle uint16
	offset int
	value  []byte
}

// prepare queues a part of a value (Bluetooth Core, Vol 3 Part F, 3.4.6.1).
func (s *Server) prepare(req *request, p []byte) {
	handle := le(p)
	a := s.target(req, handle)
	if a == nil {
		return
	}
	size := len(p) - 4
	for _, q := range s.prepared {
		size += len(q.value)
	}
	switch {
	case a.known():
		s.refuse(req, handle, ble.ATTWriteNotPermitted)
	case len(s.prepared) >= maxParts || size > maxPrepared:
		s.refuse(req, handle, errPrepareQueueFull)
	default:
		s.prepared = append(s.prepared, part{handle: handle, offset: int(le(p[2:])), value: slices.Clone(p[4:])})
		s.answer(req, append([]byte{ble.ATTOpPrepareWrite + 1}, p...))
	}
}

// execute writes what was prepared, or drops it. Each attribute is written whole and once, in the order in which they
// were prepared; the first error ends it.
func (s *Server) execute(req *request, p []byte) {
	parts := s.prepared
	s.prepared = nil
	switch p[0] {
	case 0:
		parts = nil
	case 1:
	default:
		s.refuse(req, 0, errInvalidPDU)
		return
	}
	s.executeNext(req, parts)
}

func (s *Server) executeNext(req *request, parts []part) {
	if len(parts) == 0 {
		s.answer(req, []byte{ble.ATTOpExecuteWrite + 1})
		return
	}
	a := s.target(req, parts[0].handle)
	if a == nil {
		return
	}
	var mine, rest []part
	for _, q := range parts {
		if q.handle == a.handle {
			mine = append(mine, q)
		} else {
			rest = append(rest, q)
		}
	}
	next := func() { s.executeNext(req, rest) }
	value, code := join(nil, mine)
	if code != ble.ATTInvalidOffset {
		s.putJoined(req, a, value, code, next)
		return
	}
	s.fetch(req, a, func(old []byte) { // the parts change a value that is there
		value, code := join(old, mine)
		s.putJoined(req, a, value, code, next)
	})
}

func (s *Server) putJoined(req *request, a *attribute, value []byte, code ble.ATTError, next func()) {
	if code != 0 {
		s.refuse(req, a.handle, code)
		return
	}
	s.put(req, a, value, next)
}

// join writes parts into a value, each at its offset, which may not lie beyond what is there by then.
func join(old []byte, parts []part) ([]byte, ble.ATTError) {
	value := slices.Clone(old)
	for _, q := range parts {
		switch {
		case q.offset+len(q.value) > ble.MaxAttribute && q.offset <= len(value):
			return nil, ble.ATTInvalidLength
		case q.offset > len(value):
			return nil, ble.ATTInvalidOffset
		}
		end := q.offset + len(q.value)
		value = append(value[:q.offset], append(slices.Clone(q.value), value[min(end, len(value)):]...)...)
	}
	return value, 0
}
