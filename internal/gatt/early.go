package gatt

import (
	"slices"

	"bluez-esphome/internal/ble"
)

// early is what a peripheral notifies while it is being subscribed to: often the first value comes right behind the
// answer to the CCCD's write, before whoever asked has learnt of that.
type early struct {
	link   *link
	handle uint16
	values [][]byte // under Manager.mu
}

// maxEarly bounds the values that are held back; later ones are lost.
const maxEarly = 1024

func (m *Manager) holdBack(l *link, valueHandle uint16) *early {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := &early{link: l, handle: valueHandle}
	l.early = append(l.early, e)
	return e
}

// letGo ends a hold, and passes what was held. It is called as a callback, between others.
func (m *Manager) letGo(a ble.Address, e *early, pass bool) {
	if e == nil {
		return
	}
	m.mu.Lock()
	e.link.early = slices.DeleteFunc(e.link.early, func(o *early) bool { return o == e })
	m.mu.Unlock()
	if pass {
		for _, v := range e.values {
			m.cfg.Events.Notified(a, e.handle, v)
		}
	}
}

// holdLocked reports whether a value was held back.
func (l *link) holdLocked(handle uint16, value []byte) bool {
	for _, e := range l.early {
		if e.handle == handle {
			if len(e.values) < maxEarly {
				e.values = append(e.values, value)
			}
			return true
		}
	}
	return false
}
