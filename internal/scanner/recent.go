package scanner

import "bluez-esphome/internal/ble"

// Recent gives at most n devices, those heard last first. Unlike List it costs the same however many there are.
func (t *Table) Recent(n int) []Device {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Device, 0, max(0, min(n, len(t.devices))))
	for d := t.lru.next; d != &t.lru && len(out) < n; d = d.next {
		out = append(out, t.deviceOf(d))
	}
	return out
}

// AppendRecent appends to out what Recent gives, in memory that is used again: that of out beyond its length, and of the
// Signals there. numbers says which number a proxy has for the caller; the signals of others are left out.
func (t *Table) AppendRecent(out []ble.Heard, n int, numbers map[string]int) []ble.Heard {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ask(numbers)
	for d := t.lru.next; d != &t.lru && n > 0; d, n = d.next, n-1 {
		out = t.appendHeard(out, d)
	}
	return out
}

// AppendHeard appends one device likewise, if it is in the table.
func (t *Table) AppendHeard(out []ble.Heard, a ble.Address, numbers map[string]int) []ble.Heard {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.devices[a]; d != nil {
		t.ask(numbers)
		out = t.appendHeard(out, d)
	}
	return out
}

// ask puts the numbers that a caller has for the proxies into t.asked, -1 for those that it has none for: they are looked
// up once, not for each signal.
func (t *Table) ask(numbers map[string]int) {
	t.asked = t.asked[:0]
	for _, p := range t.numbered {
		n, ok := numbers[p.name]
		if !ok {
			n = -1
		}
		t.asked = append(t.asked, n)
	}
}

func (t *Table) appendHeard(out []ble.Heard, d *device) []ble.Heard {
	if len(out) < cap(out) {
		out = out[:len(out)+1]
	} else {
		out = append(out, ble.Heard{})
	}
	h := &out[len(out)-1]
	h.Address, h.Name, h.LastHeard, h.Signals = d.addr, ble.CleanName(d.name), t.timeOf(d.heard), h.Signals[:0]
	for i := range d.sources.n {
		s := d.sources.place(i)
		p := t.numbered[s.proxy]
		if !s.of(p) {
			continue
		}
		if number := t.asked[s.proxy]; number >= 0 {
			h.Signals = append(h.Signals, ble.Signal{Proxy: number, RSSI: s.rssi, Owner: p == d.owner, LastHeard: t.timeOf(s.heard),
				Interval: s.interval.duration()})
		}
	}
	return out
}
