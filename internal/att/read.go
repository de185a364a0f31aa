package att

import (
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// longWait is how long a value that was read in part is kept for the rest.
const longWait = 5 * time.Second

// longValue is the value that a host reads in parts: one value, though the peripheral changes it meanwhile (Bluetooth
// Core, Vol 3 Part G, 4.8.3).
type longValue struct {
	handle uint16
	value  []byte
	stop   func() // nil: there is none
}

func (s *Server) forgetLong() {
	if s.long.stop != nil {
		s.long.stop()
	}
	s.long = longValue{}
}

// keepLong keeps a value of which the host was given the first n bytes, if there may be more for it to ask for.
func (s *Server) keepLong(handle uint16, value []byte, n int) {
	s.forgetLong()
	if n < len(value) || n > 0 && n == s.mtu-1 {
		s.long = longValue{handle: handle, value: value}
		s.long.stop = s.cfg.After(longWait, func() {
			if s.long.handle == handle {
				s.forgetLong()
			}
		})
	}
}

// target gives the attribute that a request is about; where there is none, or the host takes it for another one, it
// answers.
func (s *Server) target(req *request, handle uint16) *attribute {
	a := s.table.at(handle)
	switch {
	case a == nil:
		s.refuse(req, handle, ble.ATTInvalidHandle)
	case s.suspects[handle]:
		s.refuse(req, handle, s.unawareError())
	default:
		return a
	}
	return nil
}

// unawareError is what a host is told of a handle that it knows from another database: a host with robust caching that
// it is out of sync (Bluetooth Core, Vol 3 Part G, 2.5.2.1).
func (s *Server) unawareError() ble.ATTError {
	if len(s.features) > 0 && s.features[0]&1 != 0 {
		return ble.ATTDatabaseOutOfSync
	}
	return ble.ATTInvalidHandle
}

// fetch reads a whole value and gives it to f; errors it answers. f is not called if the request was given up.
func (s *Server) fetch(req *request, a *attribute, f func(value []byte)) {
	switch {
	case a.known():
		f(a.static)
		return
	case a.uuid == uuidFeatures && !a.descriptor && s.features != nil:
		f(s.features)
		return
	}
	handle, eatt := a.handle, a.uuid == uuidServer && !a.descriptor
	own, written := s.cccds[a.value]
	configures := a.configures() && written
	s.cfg.Do(ble.Operation{Kind: a.reads(), Handle: handle}, func(value []byte, err error) {
		if s.closed || s.request != req {
			return
		}
		switch {
		case err != nil:
			s.fail(req, handle, err)
			return
		case len(value) > ble.MaxAttribute:
			value = value[:ble.MaxAttribute]
		}
		switch {
		case configures: // what stands there is what all parties want
			value = []byte{byte(own), byte(own >> 8)}
		case eatt && len(value) > 0:
			value = slices.Clone(value)
			value[0] &^= 1 // there are no enhanced channels here
		}
		f(value)
	})
}

func (s *Server) read(req *request, p []byte) {
	handle := le(p)
	a := s.target(req, handle)
	if a == nil {
		return
	}
	s.forgetLong()
	s.fetch(req, a, func(value []byte) {
		n := min(len(value), s.mtu-1)
		s.keepLong(handle, value, n)
		s.answer(req, append([]byte{ble.ATTOpRead + 1}, value[:n]...))
	})
}

func (s *Server) readBlob(req *request, p []byte) {
	handle, offset := le(p), int(le(p[2:]))
	if s.long.stop != nil && s.long.handle == handle {
		s.blob(req, handle, offset, s.long.value)
		return
	}
	if a := s.target(req, handle); a != nil {
		s.fetch(req, a, func(value []byte) { s.blob(req, handle, offset, value) })
	}
}

func (s *Server) blob(req *request, handle uint16, offset int, value []byte) {
	if offset > len(value) {
		s.forgetLong()
		s.refuse(req, handle, ble.ATTInvalidOffset)
		return
	}
	n := min(len(value)-offset, s.mtu-1)
	if n < s.mtu-1 { // a host stops at an answer that is not full
		s.forgetLong()
	} else {
		s.keepLong(handle, value, n)
	}
	s.answer(req, append([]byte{ble.ATTOpReadBlob + 1}, value[offset:offset+n]...))
}

// readMultiple joins values (Bluetooth Core, Vol 3 Part F, 3.4.4.7). They are read one after another; the first error
// is the answer.
func (s *Server) readMultiple(req *request, p []byte) {
	handles := make([]uint16, 0, len(p)/2)
	for ; len(p) > 0; p = p[2:] {
		handles = append(handles, le(p))
	}
	s.readNext(req, handles, []byte{ble.ATTOpReadMultiple + 1})
}

func (s *Server) readNext(req *request, handles []uint16, out []byte) {
	if len(handles) == 0 {
		s.answer(req, out)
		return
	}
	if a := s.target(req, handles[0]); a != nil {
		s.fetch(req, a, func(value []byte) {
			out = append(out, value...)
			s.readNext(req, handles[1:], out[:min(len(out), s.mtu)])
		})
	}
}
