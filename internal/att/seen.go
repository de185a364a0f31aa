package att

import (
	"encoding/binary"
	"hash"
	"hash/fnv"
	"slices"

	"bluez-esphome/internal/ble"
)

// maxSeen bounds what is remembered of one peripheral: beyond it everything that the host may know is taken for
// outdated.
const maxSeen = 2 * ble.MaxServices

// contentHash tells one service's content from another's. Nobody gains by two that have the same: the peripheral could
// as well lie about its values.
type contentHash struct{ h hash.Hash64 }

func newHash() contentHash { return contentHash{fnv.New64a()} }

func (c contentHash) attribute(a *attribute) {
	_, _ = c.h.Write(binary.LittleEndian.AppendUint16(nil, a.handle))
	_, _ = c.h.Write(a.uuid[:])
	_, _ = c.h.Write(binary.LittleEndian.AppendUint16(nil, uint16(len(a.static))))
	_, _ = c.h.Write(a.static)
}

func (c contentHash) sum() uint64 { return c.h.Sum64() }

func overlap(a, b ble.SeenService) bool { return a.Handle <= b.Last && b.Handle <= a.Last }

// outdated are the services that the host was told of and that are not there any more as they were.
func outdated(told []ble.SeenService, t *table) []ble.SeenService {
	return slices.DeleteFunc(slices.Clone(told), func(s ble.SeenService) bool { return slices.Contains(t.services, s) })
}

// adopt makes db the server's table, and suspects of the attributes where the host knows, or may know, others.
func (s *Server) adopt(db *ble.Database) {
	s.table = newTable(db)
	s.forgetLong()
	clear(s.suspects)
	s.stale = outdated(s.seen.Services, s.table)
	touched := make(map[uint16]bool) // characteristics, by value handle
	for _, old := range s.stale {
		for _, a := range s.table.within(old.Handle, old.Last) {
			touched[a.value] = true
		}
	}
	for _, a := range s.table.attributes {
		if touched[a.value] && a.value != 0 && !a.known() {
			s.suspects[a.handle] = true
		}
	}
}

// outOfDate reports whether the host knows another database than the one that is.
func (s *Server) outOfDate() bool {
	if len(s.stale) > 0 {
		return true
	}
	return len(s.seen.Services) > 0 && slices.ContainsFunc(s.table.services, func(t ble.SeenService) bool {
		return t.Last > t.Handle && !slices.Contains(s.seen.Services, t)
	})
}

// declared: the host is given the declaration of the characteristic with that value handle, so that it knows what that
// handle and those of its descriptors mean.
func (s *Server) declared(valueHandle uint16) {
	i := slices.IndexFunc(s.table.services, func(t ble.SeenService) bool { return t.Handle < valueHandle && valueHandle <= t.Last })
	if i < 0 {
		return
	}
	now := s.table.services[i]
	if slices.Contains(s.seen.Services, now) {
		return
	}
	part := ble.SeenService{Handle: valueHandle - 1} // the characteristic
	suspected := false
	for _, a := range s.table.within(now.Handle, now.Last) {
		if a.value == valueHandle {
			delete(s.suspects, a.handle)
			part.Last = a.handle
		}
		suspected = suspected || s.suspects[a.handle]
	}
	if suspected { // of the others it may know what was, so that it does not know this service
		now = part
	}
	s.saw(now)
}

// saw remembers what the host was told now, in the place of what it knew of these handles.
func (s *Server) saw(now ble.SeenService) {
	told := []ble.SeenService{now}
	for _, t := range s.seen.Services {
		told = append(told, without(t, now)...)
	}
	if len(told) > maxSeen { // a peripheral that is another one each time
		told = []ble.SeenService{{Handle: 1, Last: 0xffff}}
	}
	slices.SortFunc(told, func(a, b ble.SeenService) int { return int(a.Handle) - int(b.Handle) })
	s.seen.Services, s.changedSeen = told, true
}

// without is what stays of t once now was told in its place: all of it if they have no handle in common, else parts
// that no database has.
func without(t, now ble.SeenService) []ble.SeenService {
	if !overlap(t, now) {
		return []ble.SeenService{t}
	}
	var parts []ble.SeenService
	if t.Handle < now.Handle {
		parts = append(parts, ble.SeenService{Handle: t.Handle, Last: now.Handle - 1})
	}
	if t.Last > now.Last {
		parts = append(parts, ble.SeenService{Handle: now.Last + 1, Last: t.Last})
	}
	return parts
}

// forgetGone drops what the host was told of handles that mean nothing now: it knows that the database changed.
func (s *Server) forgetGone() {
	told := slices.DeleteFunc(slices.Clone(s.seen.Services), func(t ble.SeenService) bool {
		return !slices.Contains(s.table.services, t) && len(s.table.within(t.Handle, t.Last)) == 0
	})
	if len(told) != len(s.seen.Services) {
		s.seen.Services, s.changedSeen = told, true
	}
}

// keepSeen has what the host was told outlive the link, if it changed.
func (s *Server) keepSeen() {
	if s.changedSeen {
		s.changedSeen = false
		s.cfg.SetSeen(s.seen)
	}
}
