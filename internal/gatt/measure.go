package gatt

import (
	"cmp"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// Operation is a kind of operation that Config.Measured tells of.
type Operation uint8

// Operations. Writes are those that the peripheral answers; descriptors count like characteristics.
const (
	OperationConnect Operation = iota
	OperationRead
	OperationWrite
)

// measured wraps done so that Config.Measured hears of its call.
func (m *Manager) measured(op Operation, done func(error)) func(error) {
	if m.cfg.Measured == nil {
		return done
	}
	begun := time.Now()
	return func(err error) {
		m.cfg.Measured(op, time.Since(begun), err)
		if done != nil {
			done(err)
		}
	}
}

// HoldState is what a slot of ours is used for.
type HoldState string

// States of a slot of ours.
const (
	HoldConnecting HoldState = "connecting"
	HoldConnected  HoldState = "connected"
	HoldReleasing  HoldState = "releasing" // the link is over and the proxy still shows the slot as taken
)

// Hold is one connection slot of a proxy that is ours.
type Hold struct {
	Proxy   string
	Address ble.Address
	State   HoldState
	Since   time.Time // when it came into that state
}

// Connected reports whether there is a link to a.
func (m *Manager) Connected(a ble.Address) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.devices[a]
	return d != nil && d.cur != nil && d.cur.phase == phaseLive
}

// Holds lists the slots that are ours, by proxy and address.
func (m *Manager) Holds() []Hold {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Hold
	for _, ps := range m.proxies {
		for a, h := range ps.holds {
			state := HoldConnected
			switch {
			case h.releasing:
				state = HoldReleasing
			case h.dialling:
				state = HoldConnecting
			}
			out = append(out, Hold{Proxy: ps.id, Address: a, State: state, Since: h.since})
		}
	}
	slices.SortFunc(out, func(a, b Hold) int {
		return cmp.Or(cmp.Compare(a.Proxy, b.Proxy), cmp.Compare(a.Address, b.Address))
	})
	return out
}
