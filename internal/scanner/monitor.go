package scanner

import (
	"bytes"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lapse"
)

// monitor is one advertisement monitor. With RSSI parameters it follows each
// device that matches:
//
//	           RSSI >= high for HighTimeout
//	(heard) ------------------------------> found, DeviceFound
//	   ^                                      |
//	   +--------------------------------------+
//	     RSSI < low, or silent, for LowTimeout: DeviceLost
//
// Without, every advert that matches is DeviceFound (recorded from bluetoothd 5.87).
type monitor struct {
	id     uint64
	spec   ble.Monitor
	tracks map[*device]*track
	// silence lists the tracks by the time last heard, the oldest first: as
	// all wait equally long, that is the order in which they end.
	silence track
}

// forgetAfter: when a device was silent for so long, it was dropped from the bus and the monitors' tracks went with it
// (bluetoothd 5.87), so that it is found anew however long LowTimeout is.
const forgetAfter = 30 * time.Second

// track is a monitor's view of one device.
type track struct {
	d          *device
	prev, next *track
	heard      int64
	highSince  int64 // 0: the RSSI is not above the high threshold
	lowSince   int64 // 0: the RSSI is not below the low threshold
	found      bool
}

// AddMonitor starts to match m; events name it by id. A monitor with that id is replaced.
func (t *Table) AddMonitor(id uint64, m ble.Monitor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeMonitor(id)
	w := &t.want
	if !w.anybody {
		w.gen++
	}
	w.asked++
	n := &monitor{id: id, spec: m, tracks: map[*device]*track{}}
	n.silence.prev, n.silence.next = &n.silence, &n.silence
	n.spec.Patterns = slices.Clone(m.Patterns)
	for i := range n.spec.Patterns {
		n.spec.Patterns[i].Content = bytes.Clone(m.Patterns[i].Content)
	}
	w.monitors = append(w.monitors, n)
	w.anybody = true
}

// RemoveMonitor ends a monitor; events of it that were not taken yet are dropped.
func (t *Table) RemoveMonitor(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeMonitor(id)
}

func (t *Table) removeMonitor(id uint64) {
	w := &t.want
	for _, d := range t.queue {
		d.events = slices.DeleteFunc(d.events, func(e ble.MonitorEvent) bool { return e.Monitor == id })
	}
	w.monitors = slices.DeleteFunc(w.monitors, func(m *monitor) bool {
		if m.id == id {
			for d := range m.tracks {
				d.tracks--
			}
		}
		return m.id == id
	})
	w.anybody = len(w.sessions) > 0 || len(w.monitors) > 0
}

func (t *Table) monitor(id uint64) *monitor {
	for _, m := range t.want.monitors {
		if m.id == id {
			return m
		}
	}
	return nil
}

// matches compares within the data of one AD structure, company identifier included.
func (m *monitor) matches(raw []byte) bool {
	for s := range ble.Structures(raw) {
		data := matchable(s)
		for i := range m.spec.Patterns {
			p := &m.spec.Patterns[i]
			if p.Type == s.Type && int(p.Start) <= len(data) && bytes.HasPrefix(data[p.Start:], p.Content) {
				return true
			}
		}
	}
	return false
}

// matchable is the part of an AD structure that a pattern is compared with. bluetoothd 5.87 compares the parsed
// advertisement: of service data it takes what follows the UUID, and it takes nothing of names and of lists of UUIDs.
func matchable(s ble.ADStructure) []byte {
	size, data := ble.UUIDsOf(s.Type)
	switch {
	case data:
		return s.Data[min(size, len(s.Data)):]
	case size > 0, s.Type == ble.ADNameShort, s.Type == ble.ADName, s.Type == ble.ADBroadcastName:
		return nil
	}
	return s.Data
}

// match gives an advert of d to all monitors and reports whether one matched. If counts is false, it is a further
// proxy's copy of an advert; a monitor without RSSI parameters counts only one of them.
func (t *Table) match(d *device, raw []byte, counts bool, now int64) bool {
	matched := false
	for _, m := range t.want.monitors {
		if !m.matches(raw) {
			continue
		}
		matched = true
		if m.spec.Tracks {
			t.follow(m, d, now)
		} else if e := (ble.MonitorEvent{Monitor: m.id}); counts && !slices.Contains(d.events, e) {
			d.events = append(d.events, e)
		}
	}
	return matched
}

// follow updates the track of d with an advert that matched.
func (t *Table) follow(m *monitor, d *device, now int64) {
	tr := m.tracks[d]
	if tr == nil {
		tr = &track{d: d}
		m.tracks[d] = tr
		d.tracks++
	} else {
		tr.prev.next, tr.next.prev = tr.next, tr.prev
		if now-tr.heard >= int64(forgetAfter) {
			tr.found, tr.highSince, tr.lowSince = false, 0, 0
		}
	}
	tr.heard = now
	tr.prev, tr.next = m.silence.prev, &m.silence
	tr.prev.next, tr.next.prev = tr, tr
	t.arm(now + int64(m.spec.LowTimeout))

	rssi := d.level()
	since(&tr.highSince, rssi >= m.spec.RSSIHigh, now)
	since(&tr.lowSince, rssi < m.spec.RSSILow, now)
	switch {
	case !tr.found && tr.highSince != 0 && now-tr.highSince >= int64(m.spec.HighTimeout):
		tr.found = true
		d.events = append(d.events, ble.MonitorEvent{Monitor: m.id})
	case tr.found && tr.lowSince != 0 && now-tr.lowSince >= int64(m.spec.LowTimeout):
		tr.found = false
		d.events = append(d.events, ble.MonitorEvent{Monitor: m.id, Lost: true})
	}
}

// since keeps the time from which a condition has held without a break.
func since(start *int64, holds bool, now int64) {
	switch {
	case !holds:
		*start = 0
	case *start == 0:
		*start = now
	}
}

// arm makes the table's one timer fire at that time or before. When a device is heard again, its deadline moves on and
// the timer stays; a timer that fires too early is armed again.
func (t *Table) arm(at int64) {
	if t.closed || t.timer != nil && t.timerAt <= at {
		return
	}
	t.timerAt = at
	wait := max(time.Duration(at-t.now()), time.Millisecond)
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, t.onSilence)
	} else {
		t.timer.Reset(wait)
	}
}

// onSilence ends the tracks of devices that were silent for too long.
func (t *Table) onSilence() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = nil
	if t.closed {
		return
	}
	now := t.now()
	if lapse.Late(t.epoch.Add(time.Duration(t.timerAt)), t.epoch.Add(time.Duration(now))) { // the process did not run
		t.arm(now + int64(lapse.Grace))
		return
	}
	next := int64(0)
	for _, m := range t.want.monitors {
		low := int64(m.spec.LowTimeout)
		for tr := m.silence.next; tr != &m.silence; tr = m.silence.next {
			if ends := tr.heard + low; ends > now {
				if next == 0 || ends < next {
					next = ends
				}
				break
			}
			m.forget(tr)
			if tr.found {
				tr.d.events = append(tr.d.events, ble.MonitorEvent{Monitor: m.id, Lost: true})
				t.enqueueDevice(tr.d)
			}
		}
	}
	if next > 0 {
		t.arm(next)
	}
}

func (m *monitor) forget(tr *track) {
	tr.prev.next, tr.next.prev = tr.next, tr.prev
	delete(m.tracks, tr.d)
	tr.d.tracks--
}

// untrack forgets the tracks of a device that is dropped. Like bluetoothd 5.87 it sends no DeviceLost.
func (t *Table) untrack(d *device) {
	if d.tracks == 0 {
		return
	}
	for _, m := range t.want.monitors {
		if tr := m.tracks[d]; tr != nil {
			m.forget(tr)
		}
	}
}
