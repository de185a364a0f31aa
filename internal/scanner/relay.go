package scanner

import (
	"time"

	"bluez-esphome/internal/ble"
)

// Relay is [Table.Adverts] for who passes the merged air on to others as if one receiver had heard it. It appends to
// out what the batch adds to it, and returns that: each advertisement once, as its owner hears it, new content whoever
// heard it, and no late copy of older content, which would take a receiver's device back in time. The RSSI is the
// owner's. What is appended refers to the batch's data.
func (t *Table) Relay(proxyName string, at time.Time, batch, out []ble.RawAdvert) []ble.RawAdvert {
	t.adverts(proxyName, at, batch, &out)
	return out
}

// relay decides on one advertisement that p heard.
func (d *device) relay(out []ble.RawAdvert, p *proxy, news news, raw *ble.RawAdvert, now int64) []ble.RawAdvert {
	if news == replay || news != novel && !d.speaksFor(p, now) {
		return out
	}
	a := *raw
	if d.owner != p {
		if rssi := d.rssi(); rssi != 0 {
			a.RSSI = rssi
		}
	}
	return append(out, a)
}
