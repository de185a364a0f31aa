package gatt

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"bluez-esphome/internal/ble"
)

// maxSubscriptions bounds what is remembered for one device.
const maxSubscriptions = 1024

// Bits of a Client Characteristic Configuration (Bluetooth Core, Vol 3 Part G, 3.3.3.3), and of what somebody wants of
// it.
const (
	cccdNotify   = 0x0001
	cccdIndicate = 0x0002
	// cccdDefault asks for notifications, or for indications if the characteristic cannot notify. It never goes on the
	// air.
	cccdDefault = 0x8000
	// cccdListen has the proxy pass values on, whether or not anything is to stand in the configuration. It never goes on
	// the air either.
	cccdListen = 0x4000
)

// subscription is what is wanted of the characteristic with that value handle: bits are never 0.
type subscription struct {
	handle uint16
	bits   uint16
}

// wantLocked is what is wanted of a characteristic, 0 for nothing.
func (d *device) wantLocked(valueHandle uint16) uint16 {
	for _, sub := range d.subs {
		if sub.handle == valueHandle {
			return sub.bits
		}
	}
	return 0
}

// Subscribe enables notifications of the characteristic with that value handle, or indications if it cannot
// notify. It is remembered over a link loss; without a link that is all, and done(nil).
func (m *Manager) Subscribe(a ble.Address, valueHandle uint16, done func(error)) {
	m.configure(nil, a, valueHandle, cccdDefault, func(err error) {
		if err != nil && !errors.Is(err, ble.ErrNotConnected) {
			m.configure(nil, a, valueHandle, 0, nil)
		}
		done(err)
	})
}

// Unsubscribe ends what Subscribe began.
func (m *Manager) Unsubscribe(a ble.Address, valueHandle uint16) {
	m.configure(nil, a, valueHandle, 0, nil)
}

// configure remembers what is wanted of a characteristic, and brings proxy and peripheral there if there is a link.
// Bits are of the CCCD; 0 ends the subscription. Without a done nobody is told how it went.
func (m *Manager) configure(party *Owner, a ble.Address, valueHandle, bits uint16, done func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if done == nil {
		done = func(error) {}
	}
	d := m.deviceLocked(a)
	i := slices.IndexFunc(d.subs, func(sub subscription) bool { return sub.handle == valueHandle })
	switch {
	case i >= 0 && bits == 0:
		d.subs = slices.Delete(d.subs, i, i+1)
		m.tidyLocked(a)
	case i >= 0:
		d.subs[i].bits = bits
	case bits == 0: // also where the last attempt failed: what stands may not be known
		m.tidyLocked(a)
	case len(d.subs) >= maxSubscriptions:
		m.events.post(func() { done(fmt.Errorf("cannot subscribe to %s: %w", a, ErrQueueFull)) })
		return
	default:
		d.subs = append(d.subs, subscription{valueHandle, bits})
	}
	s := d.cur
	if s == nil || s.phase != phaseLive {
		m.events.post(func() { done(nil) })
		return
	}
	var early *early
	s.enqueueLocked(&op{
		party: party, secure: bits != 0, handle: valueHandle, configures: true, told: d.told,
		run: func(ctx context.Context, l *link) error {
			if early == nil && bits != 0 && !l.armed[valueHandle].registered {
				early = m.holdBack(l, valueHandle)
			}
			return s.converge(ctx, l, s.db, valueHandle)
		},
		done: func(err error) {
			defer func() { m.letGo(a, early, err == nil) }() // after done: who asked then listens
			done(err)
		},
	})
}
