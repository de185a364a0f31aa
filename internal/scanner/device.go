package scanner

import (
	"slices"

	"bluez-esphome/internal/ble"
)

// device is one record of the table, under the table's lock.
type device struct {
	addr             ble.Address
	typ              ble.AddressType
	prev, next       *device // by the time last heard
	ownPrev, ownNext *device // the same of its owner's alone
	heard            int64
	gone             bool // forgotten, evicted or expired; may still be in the queue
	sources          []source
	owner            *proxy
	content          contentLog
	name             string
	traits           traits

	// What is to be said of it.
	queued     bool
	queuedAt   int64 // when the advert was heard that queued it, 0 if none did
	pending    []*ble.Advertisement
	events     []ble.MonitorEvent
	discovered bool
	monitored  bool
	autoConn   bool
	again      bool // somebody new asks: RSSI is to be said even if it did not move
	// What was said of it.
	wantGen    uint32 // the generation of wants that it was first reported in
	asked      uint32 // wants.asked as far as it was reported, 0 never
	sent       uint64 // sequence number of the content last put into pending
	saidRSSI   int8   // as a subscriber saw it: moves by 8 dB only
	reportedAt int64
	told       bool  // a report of it was taken
	matchedAt  int64 // a monitor last matched, 0 never
	tracks     int   // monitors that follow it
}

// traits are what the payloads of a device say of whether it takes connections.
type traits uint8

const (
	hasFlags traits = 1 << iota
	discoverable
	hasName
	hasUUIDs
	knownConnectable
)

// connectable guesses what the native API does not carry: a device is taken for
// a beacon if it sends flags without a discoverable bit and neither names
// itself nor lists services, unless it was connected once.
func (f traits) connectable() bool {
	return f&hasFlags == 0 || f&(discoverable|hasName|hasUUIDs|knownConnectable) != 0
}

func (d *device) learn(a *ble.Advertisement) {
	if a.HasFlags {
		d.traits = d.traits&^discoverable | hasFlags
		if a.Flags&(ble.FlagLimitedDiscoverable|ble.FlagGeneralDiscoverable) != 0 {
			d.traits |= discoverable
		}
	}
	if a.Name != "" {
		d.traits |= hasName
		d.name = a.Name
	}
	if len(a.ServiceUUIDs) > 0 {
		d.traits |= hasUUIDs
	}
}

// sourceOf finds or makes p's history and drops those that no longer count.
func (d *device) sourceOf(p *proxy) *source {
	n := 0
	for i := range d.sources {
		s := &d.sources[i]
		if s.valid() && (s.proxy == p || d.heard-s.heard <= 2*int64(staleUnknown)) {
			if i != n {
				d.sources[n] = *s
			}
			n++
		}
	}
	clear(d.sources[n:])
	d.sources = d.sources[:n]
	for i := range d.sources {
		if d.sources[i].proxy == p {
			return &d.sources[i]
		}
	}
	d.sources = append(d.sources, source{proxy: p, gen: p.gen})
	return &d.sources[n]
}

// ownerSource is the history of the proxy whose RSSI counts, or nil.
func (d *device) ownerSource() *source {
	for i := range d.sources {
		if s := &d.sources[i]; s.proxy == d.owner && s.valid() {
			return s
		}
	}
	return nil
}

// rssi is the owner's, 0 if unknown.
func (d *device) rssi() int8 {
	if s := d.ownerSource(); s != nil && s.known {
		return s.rssi
	}
	return 0
}

// add makes a record, and room for it.
func (t *Table) add(a ble.Address, now int64) *device {
	if len(t.devices) >= t.max {
		t.evict(now)
	}
	d := &device{addr: a}
	t.devices[a] = d
	d.prev, d.next = &t.lru, t.lru.next
	d.prev.next, d.next.prev = d, d
	return d
}

// touch makes d the one heard last.
func (t *Table) touch(d *device, now int64) {
	d.heard = max(d.heard, now)
	if t.lru.next == d {
		return
	}
	d.prev.next, d.next.prev = d.next, d.prev
	d.prev, d.next = &t.lru, t.lru.next
	d.prev.next, d.next.prev = d, d
	if d.owner != nil {
		d.owner.owns.remove(d)
		d.owner.owns.add(d)
	}
}

// sweep drops what nobody heard for long. Devices with a longer interval, kept or followed by a
// monitor stay, so the walk may pass over a few again each time.
func (t *Table) sweep(now int64) {
	t.swept = now
	for d := t.lru.prev; d != &t.lru; {
		prev := d.prev
		age := now - d.heard
		if age <= int64(expireAfter) {
			return
		}
		_, kept := t.kept[d.addr]
		if !kept && d.tracks == 0 && age > d.slowest() {
			t.drop(d)
			t.stats.Expired++
		}
		d = prev
	}
}

// slowest is how long d may be silent by the longest interval learned for it.
func (d *device) slowest() int64 {
	var longest int64
	for i := range d.sources {
		longest = max(longest, d.sources[i].interval)
	}
	if longest == 0 {
		return 0
	}
	return int64(float64(longest+int64(staleSlack)) * goneFactor)
}

func (t *Table) drop(d *device) {
	d.gone = true
	delete(t.devices, d.addr)
	d.prev.next, d.next.prev = d.next, d.prev
	d.prev, d.next = nil, nil
	d.belongTo(nil)
	t.untrack(d)
	d.pending, d.events = nil, nil
	// Who drops devices faster than reports are taken must not fill the queue with them.
	if d.queued {
		if t.goneQueued++; t.goneQueued > 64 && t.goneQueued > len(t.queue)/2 {
			t.queue = slices.DeleteFunc(t.queue, func(d *device) bool { return d.gone })
			t.goneQueued = 0
		}
	}
}
