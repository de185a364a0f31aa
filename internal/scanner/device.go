package scanner

import (
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// device is one record of the table, under the table's lock.
type device struct {
	// The fields that a repeated advert needs stand together: the records of a few hundred devices do not fit into the
	// processor's cache.
	addr    ble.Address
	heard   int64
	moved   int64 // when it was last moved to the front of the order
	pruned  int64 // when sources were pruned last
	owner   *proxy
	downs   uint32 // Table.downs when sources were pruned
	typ     ble.AddressType
	traits  traits
	gone    bool // forgotten, evicted or expired; may still be in the queue
	sources sources
	content contentLog

	prev, next       *device // by the time last heard, exact to moveEvery
	ownPrev, ownNext *device // the same among the devices of its owner
	name             string

	outgoing
	reported
}

// outgoing is what waits to be reported of a device.
type outgoing struct {
	queued     bool
	queuedAt   int64 // when the advert that queued it was heard, 0 if no advert did
	pending    []*ble.Advertisement
	events     []ble.MonitorEvent
	discovered bool
	monitored  bool
	autoConn   bool
	again      bool // a client joined: the RSSI is reported even if it did not move
}

// reported is what was reported of a device.
type reported struct {
	wantGen    uint32 // wants.gen when it was first reported
	asked      uint32 // wants.asked when it was last reported, 0 never
	sent       uint32 // number of the content last put into pending
	saidRSSI   int8   // the RSSI that was reported last; it follows in steps of 8 dB
	reportedAt int64
	told       bool  // Take gave a report of it
	matchedAt  int64 // a monitor last matched, 0 never
	tracks     int   // monitors that follow it
}

// traits are what the payloads of a device tell about whether it accepts connections.
type traits uint8

const (
	hasFlags traits = 1 << iota
	discoverable
	hasName
	hasUUIDs
	knownConnectable
)

// connectable guesses what the native API does not carry. A device that was never connected is taken for a beacon if it
// sends flags without a discoverable bit, and neither a name nor a list of services.
func (f traits) connectable() bool {
	return f&hasFlags == 0 || f&(discoverable|hasName|hasUUIDs|knownConnectable) != 0
}

func (d *device) learn(data []byte) {
	a := ble.Summarize(data)
	if a.HasFlags {
		d.traits = d.traits&^discoverable | hasFlags
		if a.Flags&(ble.FlagLimitedDiscoverable|ble.FlagGeneralDiscoverable) != 0 {
			d.traits |= discoverable
		}
	}
	if len(a.Name) > 0 {
		d.traits |= hasName
		if string(a.Name) != d.name {
			d.name = string(a.Name)
		}
	}
	if a.HasServiceUUIDs {
		d.traits |= hasUUIDs
	}
}

// pruneEvery is how often a device drops the histories that are too old.
const pruneEvery = time.Minute

// sourceOf finds or makes p's history, and now and then drops those that no longer count.
func (t *Table) sourceOf(d *device, p *proxy) *source {
	if d.downs != t.downs || d.heard-d.pruned > int64(pruneEvery) {
		d.downs, d.pruned = t.downs, d.heard
		d.sources.prune(func(s *source) bool {
			return t.valid(s) && (s.proxy == p.index || d.heard-s.heard <= 2*int64(staleUnknown))
		})
	}
	if s := d.sources.get(p.index); s != nil {
		return s
	}
	return d.sources.add(p, len(t.numbered))
}

func (t *Table) valid(s *source) bool { return s.of(t.numbered[s.proxy]) }

// ownerSource is the history of the proxy whose RSSI counts, or nil.
func (d *device) ownerSource() *source {
	if d.owner == nil {
		return nil
	}
	if s := d.sources.get(d.owner.index); s != nil && s.of(d.owner) {
		return s
	}
	return nil
}

// rssi is the owner's, 0 if unknown.
func (d *device) rssi() int8 {
	if s := d.ownerSource(); s != nil && s.has(known) {
		return s.rssi
	}
	return 0
}

// level is rssi as it is compared with limits: one that is not known is below all of them.
func (d *device) level() int16 {
	if rssi := d.rssi(); rssi != 0 {
		return int16(rssi)
	}
	return ble.WeakestRSSI
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

// moveEvery is how exact the order by the time last heard is. The order is for expiry, which takes minutes; an exact
// one would touch the memory of four other devices for each advert.
const moveEvery = time.Second

// touch makes d the one heard last.
func (t *Table) touch(d *device, now int64) {
	d.heard = max(d.heard, now)
	if d.moved != 0 && d.heard-d.moved < int64(moveEvery) {
		return
	}
	d.moved = d.heard
	if t.lru.next != d {
		d.prev.next, d.next.prev = d.next, d.prev
		d.prev, d.next = &t.lru, t.lru.next
		d.prev.next, d.next.prev = d, d
	}
	if d.owner != nil {
		d.owner.owns.remove(d)
		d.owner.owns.add(d)
	}
}

// sweep drops devices that nobody heard for long. Devices with a longer interval, and those that are kept or that a
// monitor follows, stay, so each sweep may pass over some of them again.
func (t *Table) sweep(now int64) {
	t.swept = now
	t.forgetProxies(now)
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
	longest := d.sources.longest
	if longest == 0 {
		return 0
	}
	return int64(float64(longest.duration()+staleSlack) * goneFactor)
}

func (t *Table) drop(d *device) {
	d.gone = true
	delete(t.devices, d.addr)
	d.prev.next, d.next.prev = d.next, d.prev
	d.prev, d.next = nil, nil
	d.belongTo(nil)
	t.untrack(d)
	d.pending, d.events = nil, nil
	// A flood of devices that are dropped faster than reports are taken must not fill the queue.
	if d.queued {
		t.goneQueued++
		if t.goneQueued > 64 && t.goneQueued > len(t.queue)/2 {
			t.queue = slices.DeleteFunc(t.queue, func(d *device) bool { return d.gone })
			t.goneQueued = 0
		}
	}
}
