package bluezshim

import (
	"slices"
	"time"
)

// expiryTimer is one timer for all temporary devices: it is set for the earliest that can
// expire and looks at them all when it fires.
type expiryTimer struct {
	shim  *Shim
	timer *time.Timer
	at    time.Time
}

// touch starts a device's 30 s anew.
func (d *device) touch() {
	d.lastSeen = time.Now()
	d.adapter.shim.expiry.plan(d)
}

func (t *expiryTimer) plan(d *device) {
	if d.temporary() {
		t.set(d.lastSeen.Add(temporaryTimeout))
	}
}

func (t *expiryTimer) set(at time.Time) {
	if t.timer != nil && !t.at.After(at) {
		return
	}
	t.stop()
	t.at = at
	t.timer = time.AfterFunc(time.Until(at), func() { t.shim.conn.Post(t.fire) })
}

func (t *expiryTimer) stop() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}

// fire removes what was not heard for 30 s. While a client discovers, a device is as fresh as the air says
// it is; an unchanged advertisement is not reported one by one.
func (t *expiryTimer) fire() {
	t.timer = nil
	if t.shim.closed {
		return
	}
	now := time.Now()
	var next time.Time
	for _, a := range t.shim.adapters {
		for _, d := range a.sortedDevices() {
			if !d.temporary() || d.peer.connected || d.peer.connecting != nil {
				continue
			}
			end := d.lastHeard().Add(temporaryTimeout)
			if !end.After(now) {
				d.remove()
			} else if next.IsZero() || end.Before(next) {
				next = end
			}
		}
	}
	if !next.IsZero() {
		t.set(next)
	}
}

// lastHeard is when the device was last reported or, while somebody listens, last heard at all.
func (d *device) lastHeard() time.Time {
	last := d.lastSeen
	if !d.seen && !d.adapter.monitoring() {
		return last
	}
	for _, s := range d.adapter.cfg.Air.Sources(d.peer.addr) {
		if s.LastHeard.After(last) {
			last = s.LastHeard
		}
	}
	return last
}

func (a *adapter) monitoring() bool {
	return slices.ContainsFunc(a.shim.monitors.apps, func(app *monitorApp) bool { return app.adapter == a })
}
