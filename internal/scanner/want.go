package scanner

import (
	"slices"
	"strings"

	"bluez-esphome/internal/ble"
)

// wants is what discovery sessions and monitors want, under the table's lock.
type wants struct {
	anybody  bool
	gen      uint32 // grows when the first client starts to discover or monitor
	asked    uint32 // grows with each client that starts to discover or monitor
	sessions []ble.DiscoveryFilter
	// regular: some session has no filter, so all devices are wanted.
	regular bool
	// everyRSSI: discovery is filtered and some session looks at RSSI (bluetoothd
	// 5.87 then signals RSSI with every report).
	everyRSSI  bool
	duplicates bool
	// connects: some session asks to connect to what it finds.
	connects bool
	monitors []*monitor
}

// SetDiscovery sets the filters of the sessions that discover now; without any, nobody discovers. The table keeps
// nothing of the slices.
//
// A session without any condition is regular and wants all devices, discoverable or not. Transport=le makes a session
// filtered, as on a dual-mode adapter, but excludes nothing by itself. A session for bredr wants nothing.
func (t *Table) SetDiscovery(sessions []ble.DiscoveryFilter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := &t.want
	if (len(w.sessions) == 0) != (len(sessions) == 0) {
		// Everything that is heard from now on is reported anew, including what a monitor had reported: at the end of the
		// discovery before, its RSSI was invalidated, or it was removed.
		w.gen++
	}
	if len(sessions) > len(w.sessions) {
		w.asked++
	}
	w.sessions = nil
	w.regular, w.everyRSSI, w.duplicates, w.connects = false, false, false, false
	for _, f := range sessions {
		f.UUIDs = slices.Clone(f.UUIDs)
		w.sessions = append(w.sessions, f)
		w.regular = w.regular || regular(&f)
		w.everyRSSI = w.everyRSSI || f.HasRSSI || f.HasPathloss
		w.duplicates = w.duplicates || f.DuplicateData
		w.connects = w.connects || f.AutoConnect && f.HasPattern
	}
	w.everyRSSI = w.everyRSSI && !w.regular
	w.anybody = len(w.sessions) > 0 || len(w.monitors) > 0
	if len(sessions) == 0 {
		for _, d := range t.queue {
			d.discovered, d.autoConn = false, false
		}
	}
}

// regular reports whether f sets no condition that bluetoothd 5.87 on a dual-mode adapter would treat as a filter.
func regular(f *ble.DiscoveryFilter) bool {
	return len(f.UUIDs) == 0 && !f.HasRSSI && !f.HasPathloss && !f.HasPattern && !f.DuplicateData &&
		f.Transport == ble.TransportAuto
}

// discovers reports whether d passes the whole filter of some session, and whether one of those sessions asks to
// connect to it.
func (t *Table) discovers(d *device, now int64) (wanted, autoConnect bool) {
	if t.want.regular && !t.want.connects {
		return true, false // however many sessions there are
	}
	for i := range t.want.sessions {
		f := &t.want.sessions[i]
		if !d.passes(f, now) {
			continue
		}
		wanted = true
		if f.AutoConnect && f.HasPattern {
			return true, true
		}
		if !t.want.connects {
			return true, false
		}
	}
	return wanted, false
}

// passes compares a filter with all that was heard within the last moments, since a proxy may forward advertisement and
// scan response apart.
func (d *device) passes(f *ble.DiscoveryFilter, now int64) bool {
	if f.Transport == ble.TransportBREDR {
		return false
	}
	rssi := d.level()
	if f.HasRSSI && rssi < f.RSSI {
		return false
	}
	if f.HasPathloss && !d.recently(now, func(a *ble.Advertisement) bool {
		return a.HasTxPower && int16(a.TxPower)-rssi <= int16(f.Pathloss)
	}) {
		return false
	}
	if f.HasPattern && !addressHasPrefix(d.addr, f.Pattern) && !d.recently(now, func(a *ble.Advertisement) bool {
		return strings.HasPrefix(ble.CleanName(a.Name), f.Pattern)
	}) {
		return false
	}
	return len(f.UUIDs) == 0 || d.recently(now, func(a *ble.Advertisement) bool {
		for _, u := range a.ServiceUUIDs {
			if slices.Contains(f.UUIDs, u) {
				return true
			}
		}
		return false
	})
}

// addressHasPrefix compares in either case.
func addressHasPrefix(a ble.Address, prefix string) bool {
	if len(prefix) > 17 {
		return false
	}
	for i := range len(prefix) {
		c := byte(':')
		if i%3 != 2 {
			c = "0123456789abcdef"[a>>(44-4*(i-i/3))&15]
		}
		p := prefix[i]
		if 'A' <= p && p <= 'F' {
			p += 'a' - 'A'
		}
		if p != c {
			return false
		}
	}
	return true
}

// recently reports whether f holds for a payload heard within the completing window, or for the newest.
func (d *device) recently(now int64, f func(*ble.Advertisement) bool) bool {
	for a := range d.content.recent(now, completeWithin) {
		if f(a) {
			return true
		}
	}
	return false
}
