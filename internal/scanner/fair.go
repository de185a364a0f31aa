package scanner

import "time"

// A proxy that makes devices up, or that stands in a crowd, must not take the table from the others. A real one hears a
// few hundred devices at a time; in a crowd some hundred new ones come a minute.
const (
	freshBurst  = 16384 // addresses at once: the default table
	freshPerSec = 1000  // addresses a second from then on
)

// budget is what a proxy may add to the table: freshBurst addresses at once and freshPerSec from then on.
type budget struct {
	spent int64 // nanoseconds' worth of addresses
	at    int64
}

// take spends one address if there is one left.
func (b *budget) take(now int64) bool {
	const each = int64(time.Second) / freshPerSec
	b.spent = max(0, b.spent-max(0, now-b.at))
	b.at = max(b.at, now)
	if b.spent+each > freshBurst*each {
		return false
	}
	b.spent += each
	return true
}

// ownList lists the devices that a proxy owns, by the time last heard.
type ownList struct {
	first, last *device
	n           int
}

func (l *ownList) add(d *device) {
	d.ownPrev, d.ownNext = nil, l.first
	if l.first != nil {
		l.first.ownPrev = d
	} else {
		l.last = d
	}
	l.first = d
	l.n++
}

func (l *ownList) remove(d *device) {
	if d.ownPrev != nil {
		d.ownPrev.ownNext = d.ownNext
	} else {
		l.first = d.ownNext
	}
	if d.ownNext != nil {
		d.ownNext.ownPrev = d.ownPrev
	} else {
		l.last = d.ownPrev
	}
	d.ownPrev, d.ownNext = nil, nil
	l.n--
}

// belongTo makes p, nil for nobody, the owner of d.
func (d *device) belongTo(p *proxy) {
	if d.owner != nil {
		d.owner.owns.remove(d)
	}
	d.owner = p
	if p != nil {
		p.owns.add(d)
	}
}

// quietFor is how long a device must be silent before it may be evicted, whichever proxy owns it: clients have lost it
// by then (bluetoothd 5.87 drops a device after the same time).
const quietFor = 30 * time.Second

// evict makes room by dropping the device that was not heard for longest. If even that one was heard lately, there is a
// crowd, or a proxy that makes devices up. Then the proxy that owns the most devices loses its oldest one.
func (t *Table) evict(now int64) {
	for d := t.lru.prev; d != &t.lru && now-d.heard > int64(quietFor); d = d.prev {
		if t.makeRoom(d) {
			return
		}
	}
	var most *proxy
	for _, p := range t.proxies {
		if most == nil || p.owns.n > most.owns.n {
			most = p
		}
	}
	if most == nil {
		return
	}
	for d := most.owns.last; d != nil; d = d.ownPrev {
		if t.makeRoom(d) {
			return
		}
	}
}

// makeRoom drops d and returns true, unless d is kept.
func (t *Table) makeRoom(d *device) bool {
	if _, kept := t.kept[d.addr]; kept {
		return false
	}
	if d.told {
		t.evicted = append(t.evicted, d.addr)
		t.signal()
	}
	if now := t.now(); t.lastFull == 0 || now-t.lastFull > int64(time.Hour) {
		t.lastFull = now
		owner := ""
		if d.owner != nil {
			owner = d.owner.name
		}
		t.log.Warn("device table is full: the devices heard longest ago make room (raise max_devices if that is not a passing crowd)",
			"max_devices", t.max, "proxy", owner)
	}
	t.drop(d)
	t.stats.Evicted++
	return true
}
