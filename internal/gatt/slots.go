package gatt

import (
	"context"
	"fmt"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// maxAllocated bounds the list of message 81; firmware has at most 9 slots.
const maxAllocated = 64

// assumedSlots is how many links a proxy is taken to have before its first message 81 (ESPHome's default).
const assumedSlots = 3

// hold is one slot of a proxy that is ours. Its fields are under Manager.mu.
type hold struct {
	order     uint64    // of the reservations
	since     time.Time // of the present state
	dialling  bool
	blind     bool                    // its device is not heard
	onAir     time.Time               // since when the proxy dials, zero while others are before it
	doubt     time.Duration           // how long it may dial before it yields to others
	yield     context.CancelCauseFunc // calls the attempt off, nil if it was
	confirmed bool                    // a message 81 came since it was reserved
	releasing bool                    // the link is over and the proxy has not yet shown the slot as free
	timer     *time.Timer
}

// free is the number of slots that can be reserved now. fallback counts until the
// first message 81.
func (ps *proxyState) free(fallback ble.Slots) int {
	s := ps.slots
	if !s.Known {
		s = fallback
	}
	if !s.Known {
		return assumedSlots - len(ps.holds)
	}
	n := s.Free
	for a, h := range ps.holds {
		counted := h.confirmed
		if s.HasAllocated {
			counted = slices.Contains(s.Allocated, a)
		}
		if !counted {
			n--
		}
	}
	return n
}

// dialling is the number of attempts in progress.
func (ps *proxyState) dialling() int {
	n := 0
	for _, h := range ps.holds {
		if h.dialling {
			n++
		}
	}
	return n
}

// parked reports whether an attempt with hold h waits for an older one: an ESP makes one at a time.
func (ps *proxyState) parked(h *hold) bool {
	for _, o := range ps.holds {
		if o.dialling && o.order < h.order {
			return true
		}
	}
	return false
}

// stale reports that the proxy has a slot taken for a that is not ours.
func (ps *proxyState) stale(a ble.Address) bool {
	return ps.holds[a] == nil && slices.Contains(ps.slots.Allocated, a)
}

// stopLocked ends what waits for the proxy in the background.
func (ps *proxyState) stopLocked() {
	for _, stop := range ps.ghosts {
		stop(nil)
	}
	for _, h := range ps.holds {
		if h.timer != nil {
			h.timer.Stop()
		}
	}
}

// joins reports whether another host of the daemon that shares the proxy has a link to a, or an attempt at one, which
// it would share with us. While that daemon is asked to end our part in it, a new one would end with that.
func (ps *proxyState) joins(a ble.Address) bool {
	return ps.hosts == HostsShared && ps.stale(a) && ps.ghosts[a] == nil
}

// releaseLocked gives up our claim to the slot of a once the proxy shows it as
// free. Firmware 2025.8 to 2026.7 reports the end of a link twice and frees the slot with the second
// report: a link made in between would be ended by it. Of a proxy that is shared the slot may be another host's, too, and
// its daemon takes care of the rest.
func (m *Manager) releaseLocked(ps *proxyState, a ble.Address, h *hold) {
	if h == nil || ps.holds[a] != h || h.releasing {
		return
	}
	s := ps.slots
	gone := ps.gone || !s.Known || m.proxies[ps.id] != ps || ps.hosts == HostsShared
	if s.HasAllocated {
		gone = gone || !slices.Contains(s.Allocated, a)
	} else {
		gone = gone || !h.confirmed
	}
	if gone || m.closed {
		delete(ps.holds, a)
		m.changedLocked()
		return
	}
	h.dialling, h.releasing, h.since = false, true, time.Now()
	h.timer = time.AfterFunc(releaseWait, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if ps.holds[a] != h {
			return
		}
		delete(ps.holds, a)
		m.changedLocked()
		if ps.stale(a) {
			m.ghostLocked(ps, a, "the slot of an ended link was not released")
		}
	})
}

// slotsLocked takes in a message 81.
func (m *Manager) slotsLocked(ps *proxyState, s ble.Slots) {
	s.Known = true
	s.Limit = min(max(s.Limit, 0), maxAllocated)
	s.Free = min(max(s.Free, 0), s.Limit)
	s.Allocated = slices.Clone(s.Allocated[:min(len(s.Allocated), maxAllocated)])
	ps.slots = s
	for a, h := range ps.holds {
		h.confirmed = true
		if h.releasing && !slices.Contains(s.Allocated, a) {
			h.timer.Stop()
			delete(ps.holds, a)
		}
	}
	m.reconcileLocked(ps)
	m.changedLocked()
}

// reconcileLocked compares what we believe with what the proxy says: ESPHome native API, message 81,
// lists exactly limit - free addresses, or, before 2025.2, none.
func (m *Manager) reconcileLocked(ps *proxyState) {
	s := ps.slots
	if !s.HasAllocated {
		return
	}
	if len(s.Allocated) != s.Limit-s.Free {
		if !ps.warned["inconsistent"] {
			ps.warned["inconsistent"] = true
			m.log.Warn("the proxy's list of connection slots contradicts its count; not used to find lost links",
				"proxy", ps.name, "limit", s.Limit, "free", s.Free, "allocated", len(s.Allocated))
		}
	} else {
		for a, l := range ps.links {
			if l.up && !l.lost && !slices.Contains(s.Allocated, a) {
				m.log.Warn("the proxy no longer has the link; taking it as ended", "proxy", ps.name, "device", a)
				l.loseLocked(ble.DisconnectUnknown, false, fmt.Errorf("%s: link ended without a report", ps.name))
			}
		}
	}
	for _, a := range s.Allocated {
		if ps.stale(a) {
			m.ghostLocked(ps, a, "a connection slot is taken for nobody here")
		}
	}
}
