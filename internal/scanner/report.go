package scanner

import (
	"bytes"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

const (
	// maxPending is how many payloads of a device wait for Take.
	maxPending = 8
	// completeWithin: payloads of a device that were heard within this time count as parts of one advertisement and its
	// scan response.
	completeWithin = 1500 * time.Millisecond
	// rssiStep is the least change of RSSI, in dB, that bluetoothd 5.87 signals.
	rssiStep = 8
	// unsaid stands for no RSSI reported yet: it differs from any real RSSI by more than rssiStep.
	unsaid = 127
	// refreshEvery is how often a device is reported even if nothing about it changed, so that a client that expires
	// devices knows that it is still there.
	refreshEvery = 10 * time.Second
	// goneAfter: a client that expires devices may have dropped one that was not reported for so long (bluetoothd 5.87
	// waits 30 s), so it is reported as if for the first time.
	goneAfter = 25 * time.Second
	// maxTake is how many devices one Take reports at most, so that the taker's other work does not wait for a whole
	// crowd.
	maxTake = 256
)

// Changed has a value when [Table.Take] has reports.
func (t *Table) Changed() <-chan struct{} { return t.wake }

// consider decides whether an advert is worth a report, and of what.
func (t *Table) consider(d *device, p *proxy, news news, data []byte, now int64) {
	w := &t.want
	silent := now - d.reportedAt
	first := d.wantGen != w.gen || silent >= int64(goneAfter)
	due := silent >= int64(refreshEvery)
	byOwner := d.speaksFor(p, now)
	// Several proxies hear each advertisement; its repetitions count once.
	counts := news == novel || byOwner || first || due
	if first && (news == replay || p.held != 0) {
		return
	}
	monitored := false
	if len(w.monitors) > 0 {
		if news != replay && t.match(d, data, counts, now) {
			d.matchedAt = now
		}
		monitored = d.matchedAt != 0 && now-d.matchedAt <= int64(completeWithin)
	}
	if !counts && len(d.events) == 0 {
		return
	}
	discovered, autoConnect := t.discovers(d, now)
	if !discovered && !monitored {
		return
	}
	// A client that joins others has not been told of a device that does not change.
	again := d.asked != 0 && d.asked != w.asked && byOwner && d.rssi() != 0
	dirty := first || due || again || len(d.events) > 0
	head := d.content.head()
	switch {
	case news == replay:
	case first:
		t.enqueueRecent(d, now)
		d.sent = head
	case d.sent != head:
		t.enqueue(d, d.content.newest())
		d.sent, dirty = head, true
	case w.duplicates && byOwner:
		t.enqueue(d, d.content.newest())
		dirty = true
	}
	if first || again {
		d.saidRSSI = unsaid
	}
	if rssi := d.rssi(); rssi != 0 {
		moved := int(rssi) - int(d.saidRSSI)
		if w.everyRSSI && byOwner || moved >= rssiStep || moved <= -rssiStep {
			d.saidRSSI, dirty = rssi, true
		}
	}
	if !dirty {
		return
	}
	d.wantGen, d.reportedAt = w.gen, now
	if again || d.asked == 0 {
		d.asked = w.asked
	}
	d.again = d.again || again
	d.discovered = d.discovered || discovered
	d.monitored = d.monitored || monitored
	d.autoConn = d.autoConn || autoConnect
	if d.queuedAt == 0 {
		d.queuedAt = now
	}
	t.enqueueDevice(d)
}

// speaksFor reports whether repeated adverts that p hears count: those of the owner do, and those of all others while
// the owner hears nothing.
func (d *device) speaksFor(p *proxy, now int64) bool {
	if d.owner == p {
		return true
	}
	o := d.ownerSource()
	return o == nil || now-o.heard > int64(completeWithin)
}

// enqueueRecent enqueues the payloads that together describe the device as it is now.
func (t *Table) enqueueRecent(d *device, now int64) {
	d.pending = nil
	var recent []*ble.Advertisement
	for a := range d.content.recent(now, completeWithin) {
		recent = append(recent, a)
	}
	for _, a := range slices.Backward(recent) { // the newest last
		t.enqueue(d, a)
	}
}

// enqueue adds a payload at the end; one with the same bytes that is there already moves there.
func (t *Table) enqueue(d *device, a *ble.Advertisement) {
	for i, p := range d.pending {
		if p == a || bytes.Equal(p.Raw, a.Raw) {
			copy(d.pending[i:], d.pending[i+1:])
			d.pending[len(d.pending)-1] = a
			return
		}
	}
	if len(d.pending) == maxPending {
		copy(d.pending, d.pending[1:])
		d.pending[maxPending-1] = a
		t.stats.Overrun++
		return
	}
	d.pending = append(d.pending, a)
}

func (t *Table) enqueueDevice(d *device) {
	if t.closed {
		return
	}
	if !d.queued {
		d.queued = true
		t.queue = append(t.queue, d)
	}
	t.signal()
}

// Take calls f for each device that has something to report, the oldest change first, and for at most 256 devices; if
// there are more, Changed has a value again. f runs without the table's lock and may keep what it gets. Devices that
// change meanwhile wait for the next call. A report with neither Discovered nor Monitored has nothing but Events, or
// Evicted.
func (t *Table) Take(f func(*ble.Report)) {
	t.mu.Lock()
	queue, evicted := t.queue, t.evicted
	t.evicted = nil
	if len(queue) > maxTake {
		queue, t.queue = queue[:maxTake:maxTake], queue[maxTake:]
		t.signal()
	} else {
		t.queue, t.goneQueued = nil, 0
	}
	t.mu.Unlock()
	for _, a := range evicted {
		f(&ble.Report{Address: a, Evicted: true})
	}
	for _, d := range queue {
		t.mu.Lock()
		r := t.report(d)
		t.mu.Unlock()
		if r != nil {
			f(r)
		}
	}
}

// report takes what waits to be reported of d; it is nil if there is nothing left to report.
func (t *Table) report(d *device) *ble.Report {
	w := &t.want
	d.queued = false
	r := &ble.Report{
		Address: d.addr, Type: d.typ, RSSI: d.rssi(), At: t.timeOf(d.heard),
		Payloads: d.pending, Last: d.content.newest(), Connectable: d.traits.connectable(),
		Discovered: d.discovered && len(w.sessions) > 0, Monitored: d.monitored && len(w.monitors) > 0,
		AutoConnect: d.autoConn, EveryRSSI: w.everyRSSI || d.again, Duplicates: w.duplicates,
	}
	if d.queuedAt != 0 {
		r.Since = t.timeOf(d.queuedAt)
		d.queuedAt = 0
	}
	for _, e := range d.events {
		if t.monitor(e.Monitor) != nil {
			r.Events = append(r.Events, e)
		}
	}
	d.pending, d.events = nil, nil
	d.discovered, d.monitored, d.autoConn, d.again = false, false, false, false
	if d.gone || !r.Discovered && !r.Monitored && len(r.Events) == 0 {
		return nil
	}
	d.told = true
	if !r.Discovered && !r.Monitored {
		r.Payloads = nil
	}
	return r
}
