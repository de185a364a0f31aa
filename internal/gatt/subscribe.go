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

// Subscribe enables notifications of the characteristic with that value handle, or indications if it cannot
// notify. It is remembered over a link loss; without a link that is all, and done(nil).
func (m *Manager) Subscribe(a ble.Address, valueHandle uint16, done func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.deviceLocked(a)
	if !slices.Contains(d.subs, valueHandle) {
		if len(d.subs) >= maxSubscriptions {
			m.events.post(func() { done(fmt.Errorf("cannot subscribe to %s: %w", a, ErrQueueFull)) })
			return
		}
		d.subs = append(d.subs, valueHandle)
	}
	s := d.cur
	if s == nil || s.phase != phaseLive {
		m.events.post(func() { done(nil) })
		return
	}
	s.enqueueLocked(&op{
		secure: true,
		run: func(ctx context.Context, l *link) error {
			return s.enable(ctx, l, s.db, valueHandle)
		},
		done: func(err error) {
			if err != nil && !errors.Is(err, ble.ErrNotConnected) {
				m.mu.Lock()
				m.unsubscribeLocked(a, valueHandle)
				m.mu.Unlock()
			}
			done(err)
		},
	})
}

// Unsubscribe ends what Subscribe began.
func (m *Manager) Unsubscribe(a ble.Address, valueHandle uint16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.unsubscribeLocked(a, valueHandle) {
		return
	}
	d := m.devices[a]
	if d == nil || d.cur == nil || d.cur.phase != phaseLive {
		return
	}
	s := d.cur
	s.enqueueLocked(&op{
		run: func(ctx context.Context, l *link) error {
			s.disable(ctx, l, s.db, valueHandle)
			return nil
		},
	})
}

// unsubscribeLocked reports whether there was a subscription.
func (m *Manager) unsubscribeLocked(a ble.Address, valueHandle uint16) bool {
	d := m.devices[a]
	if d == nil {
		return false
	}
	i := slices.Index(d.subs, valueHandle)
	if i < 0 {
		return false
	}
	d.subs = slices.Delete(d.subs, i, i+1)
	m.tidyLocked(a)
	return true
}

// errNoAttribute is what the peripheral would answer, known without asking it.
var errNoAttribute = fmt.Errorf("no characteristic has that value handle: %w", ble.ATTInvalidHandle)

// characteristic finds a characteristic by value handle.
func characteristic(db *ble.Database, valueHandle uint16) *ble.Characteristic {
	for i := range db.Services {
		for j := range db.Services[i].Characteristics {
			if c := &db.Services[i].Characteristics[j]; c.ValueHandle == valueHandle {
				return c
			}
		}
	}
	return nil
}

// enable registers at the proxy, then writes the CCCD: what comes in between is not lost. Without a
// CCCD there is nothing to write (bluetoothd 5.87, GattCharacteristic1 StartNotify).
func (s *session) enable(ctx context.Context, l *link, db *ble.Database, valueHandle uint16) error {
	if l.armed[valueHandle] {
		return nil
	}
	c := characteristic(db, valueHandle)
	if c == nil {
		return errNoAttribute
	}
	if err := l.ps.proxy.Notify(ctx, s.addr, valueHandle, true); err != nil {
		return err
	}
	if h := c.CCCD(); h != 0 {
		value := []byte{2, 0}
		if c.Properties.Has(ble.PropNotify) {
			value[0] = 1
		}
		if err := l.ps.proxy.WriteDescriptor(ctx, s.addr, h, value); err != nil {
			if nerr := l.ps.proxy.Notify(ctx, s.addr, valueHandle, false); nerr != nil {
				s.m.log.Debug("cannot end the proxy's notifications", "device", s.addr, "handle", valueHandle, "error", nerr)
			}
			return err
		}
	}
	l.armed[valueHandle] = true
	return nil
}

// disable is the reverse of enable. It goes on after an error, of which nobody is told.
func (s *session) disable(ctx context.Context, l *link, db *ble.Database, valueHandle uint16) {
	if !l.armed[valueHandle] || valueHandle == l.serviceChanged {
		return
	}
	delete(l.armed, valueHandle)
	if c := characteristic(db, valueHandle); c != nil && c.CCCD() != 0 {
		if err := l.ps.proxy.WriteDescriptor(ctx, s.addr, c.CCCD(), []byte{0, 0}); err != nil {
			s.m.log.Debug("cannot clear the CCCD", "device", s.addr, "handle", valueHandle, "error", err)
		}
	}
	if err := l.ps.proxy.Notify(ctx, s.addr, valueHandle, false); err != nil {
		s.m.log.Debug("cannot end the proxy's notifications", "device", s.addr, "handle", valueHandle, "error", err)
	}
}

// arm subscribes to Service Changed and to everything that is remembered. Only the end of
// the link is an error.
func (s *session) arm(ctx context.Context, l *link, db *ble.Database) error {
	m := s.m
	m.mu.Lock()
	subs := slices.Clone(s.dev.subs)
	m.mu.Unlock()
	s.db = db
	if c := db.Find(ble.UUIDServiceChanged); c != nil && c.Properties.Has(ble.PropIndicate|ble.PropNotify) {
		m.mu.Lock()
		l.serviceChanged = c.ValueHandle
		m.mu.Unlock()
		if err := s.enable(ctx, l, db, c.ValueHandle); err != nil {
			m.log.Debug("cannot subscribe to Service Changed", "device", s.addr, "error", err)
		}
	}
	for _, h := range subs {
		if ctx.Err() != nil {
			break
		}
		err := s.enable(ctx, l, db, h)
		if wantsSecurity(err) && s.raiseSecurity(ctx, l) {
			err = s.enable(ctx, l, db, h)
		}
		if err != nil {
			m.log.Warn("cannot subscribe again", "device", s.addr, "proxy", l.ps.name, "handle", h, "error", err)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
