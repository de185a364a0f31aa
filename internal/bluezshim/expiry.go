package bluezshim

import (
	"slices"
	"time"
)

// expiryTimer is one timer for all temporary devices: it is set for the earliest that can
// expire and looks at them all when it fires.
type expiryTimer struct {
	shim   *Shim
	cancel func() // nil: none is set
	at     time.Time
}

// expiryStep is the least time between two looks at all devices; with hundreds of them one ends at any moment.
const expiryStep = time.Second

// touch starts a device's 30 s anew.
func (d *device) touch() {
	d.lastSeen = d.adapter.shim.clock.Now()
	d.adapter.shim.expiry.plan(d)
}

func (t *expiryTimer) plan(d *device) {
	if d.temporary() {
		t.set(d.lastSeen.Add(temporaryTimeout))
	}
}

func (t *expiryTimer) set(at time.Time) {
	if t.cancel != nil && !t.at.After(at) {
		return
	}
	t.stop()
	t.at = at
	t.cancel = t.shim.clock.AfterFunc(at.Sub(t.shim.clock.Now()), func() { t.shim.conn.Post(t.fire) })
}

func (t *expiryTimer) stop() {
	if t.cancel != nil {
		t.cancel()
		t.cancel = nil
	}
}

// fire removes what was not heard for 30 s. While a client discovers, a device is as fresh as the air says
// it is; an unchanged advertisement is not reported one by one.
func (t *expiryTimer) fire() {
	t.cancel = nil
	if t.shim.closed {
		return
	}
	now := t.shim.clock.Now()
	earliest := now.Add(expiryStep)
	next := time.Time{}
	for _, a := range t.shim.adapters {
		for _, d := range a.sortedDevices() {
			if !d.temporary() || d.peer.busy() {
				continue
			}
			end := d.lastSeen.Add(temporaryTimeout)
			if !end.After(now) { // only now is it worth asking
				d.lastSeen = d.lastHeard()
				end = d.lastSeen.Add(temporaryTimeout)
			}
			if !end.After(now) {
				d.remove()
			} else if next.IsZero() || end.Before(next) {
				next = end
			}
		}
	}
	if !next.IsZero() {
		if next.Before(earliest) {
			next = earliest
		}
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
	return slices.ContainsFunc(a.shim.monitors.apps, func(app *monitorApp) bool { return app.adapter == a && len(app.monitors) > 0 })
}
