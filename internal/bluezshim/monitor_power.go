package bluezshim

import (
	"cmp"
	"maps"
	"slices"
)

// of lists an adapter's monitors in the order in which they came.
func (t *monitorTable) of(a *adapter) []*monitor {
	var out []*monitor
	for _, m := range t.byID {
		if m.app.adapter == a {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b *monitor) int { return cmp.Compare(a.id, b.id) })
	return out
}

// suspend stops an adapter's monitors while it is off. Devices that they found and that are still there are reported as
// lost (bluetoothd 5.87).
func (t *monitorTable) suspend(a *adapter) {
	for _, m := range t.of(a) {
		a.cfg.Air.RemoveMonitor(m.id)
		for _, addr := range slices.Sorted(maps.Keys(m.found)) {
			if d := a.devices[addr]; d != nil {
				m.send("DeviceLost", d)
			}
		}
		m.found = nil
	}
}

// resume starts them anew.
func (t *monitorTable) resume(a *adapter) {
	for _, m := range t.of(a) {
		a.cfg.Air.AddMonitor(m.id, m.def)
	}
}
