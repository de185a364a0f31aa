package hci

import (
	"time"

	"bluez-esphome/internal/ble"
)

// The accept list, which is part of scan since advertisements are held against it.

// setAccepted adds a device or takes it off; it reports false if the list is full.
func (s *scan) setAccepted(a ble.Address, t ble.AddressType, on bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !on {
		delete(s.accept, a)
		return true
	}
	if _, ok := s.accept[a]; !ok && len(s.accept) >= acceptListSize {
		return false
	}
	s.accept[a] = t
	return true
}

func (s *scan) clearAccepted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.accept)
}

// accepted is the type with which the host listed a device.
func (s *scan) accepted(a ble.Address) (ble.AddressType, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.accept[a]
	return t, ok
}

// acceptedNow gives a listed device that is present, if there is one for which but is false.
func (s *scan) acceptedNow(but func(ble.Address) bool) (found ble.Address, ok bool) {
	s.mu.Lock()
	list := make([]ble.Address, 0, len(s.accept))
	for a := range s.accept {
		list = append(list, a)
	}
	s.mu.Unlock()
	for _, a := range list {
		if !but(a) && s.present(a) {
			return a, true
		}
	}
	return 0, false
}

// present reports whether a device can be connected to now: it was heard just now, or its link is another party's and
// can be joined.
func (s *scan) present(a ble.Address) bool {
	_, at, ok := s.last(a)
	return ok && time.Since(at) <= recently || s.linked(a)
}
