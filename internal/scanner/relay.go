package scanner

import (
	"time"

	"bluez-esphome/internal/ble"
)

// Relay does what [Table.Adverts] does, for callers that pass the merged air on as if one receiver had heard it. It
// appends to out what the batch adds to that air, and returns out: each advertisement once, as the device's owner hears
// it, and new content whoever heard it, but no late copy of older content, which would take the device back in time at
// the receiver. The RSSI is the owner's. What is appended refers to the batch's data.
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
