package att

import (
	"slices"

	"bluez-esphome/internal/ble"
)

func (s *Server) write(req *request, p []byte) {
	a := s.target(req, le(p))
	if a == nil {
		return
	}
	s.put(req, a, p[2:], func() { s.answer(req, []byte{ble.ATTOpWrite + 1}) })
}

// put writes a whole value with response and then calls f; errors it answers. f is not called if the request was given
// up.
func (s *Server) put(req *request, a *attribute, value []byte, f func()) {
	switch {
	case a.known():
		s.refuse(req, a.handle, ble.ATTWriteNotPermitted)
		return
	case len(value) > ble.MaxAttribute:
		s.refuse(req, a.handle, ble.ATTInvalidLength)
		return
	case a.uuid == uuidFeatures && !a.descriptor:
		// The client over the air is the proxy: with robust caching the peripheral would refuse it until it reads the
		// hash.
		s.features = slices.Clone(value)
		f()
		return
	}
	if s.long.handle == a.handle {
		s.forgetLong()
	}
	handle, configured := a.handle, uint16(0)
	if a.configures() {
		configured = a.value
	}
	value = slices.Clone(value)
	t := s.table
	s.cfg.Do(ble.Operation{Kind: a.writes(), Handle: handle, Value: value}, func(_ []byte, err error) {
		if s.closed {
			return
		}
		if err == nil && configured != 0 && s.table == t { // also if the request was given up meanwhile
			s.configured(configured, value)
		}
		switch {
		case s.request != req:
		case err != nil:
			s.fail(req, handle, err)
		default:
			f()
		}
	})
}

// configured notes what the host wrote to the configuration of a characteristic.
func (s *Server) configured(valueHandle uint16, value []byte) {
	if len(value) != 2 {
		return
	}
	s.cccds[valueHandle] = le(value)
	if valueHandle == s.table.changed && le(value) != 0 && !s.seen.Changes {
		s.seen.Changes, s.changedSeen = true, true
		s.keepSeen()
	}
}

// command runs what is never answered. taken waits until the proxy took a write: there is no other back-pressure.
func (s *Server) command(pdu []byte, taken func()) {
	// A Signed Write Command a proxy cannot send; others there are not.
	if pdu[0] != ble.ATTOpWriteCommand || len(pdu) < 3 || len(pdu) > s.mtu || s.commands >= maxCommands {
		taken()
		return
	}
	handle := le(pdu[1:])
	a := s.table.at(handle)
	if a == nil || a.known() || s.suspects[handle] {
		taken()
		return
	}
	if s.long.handle == handle {
		s.forgetLong()
	}
	op := ble.Operation{Kind: ble.OpWriteCommand, Handle: handle, Value: slices.Clone(pdu[3:])}
	if a.descriptor {
		op.Kind = ble.OpWriteDescriptor
	}
	if a.uuid == uuidFeatures && !a.descriptor {
		s.features = op.Value
		taken()
		return
	}
	configures, value, t := a.configures(), a.value, s.table
	s.commands++
	s.cfg.Do(op, func(_ []byte, err error) {
		if s.closed {
			return
		}
		s.commands--
		if err == nil && configures && s.table == t {
			s.configured(value, op.Value)
		}
		taken()
	})
}
