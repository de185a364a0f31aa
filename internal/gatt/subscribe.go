package gatt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
	var early *early
	s.enqueueLocked(&op{
		secure: true, handle: valueHandle, told: d.told,
		run: func(ctx context.Context, l *link) error {
			if early == nil {
				early = m.holdBack(l, valueHandle)
			}
			return s.enable(ctx, l, s.db, valueHandle)
		},
		done: func(err error) {
			defer func() { m.letGo(a, early, err == nil) }() // after done: who asked then listens
			if err != nil && !errors.Is(err, ble.ErrNotConnected) {
				m.mu.Lock()
				m.unsubscribeLocked(a, valueHandle)
				m.mu.Unlock()
			}
			done(err)
		},
	})
}

// early is what a peripheral notifies while it is being subscribed to: often the first value comes right behind the answer to
// the CCCD's write, before whoever asked has learnt of that.
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
		handle: valueHandle, told: d.told,
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

// Times that an answer of the proxy may take. Firmware before 2026.8 loses answers when its network is congested; so
// what may be asked twice is.
const (
	registerWait = 4 * time.Second // to a registration, which the proxy answers by itself
	cccdWait     = 8 * time.Second // to a CCCD's write, which the peripheral answers
)

// twice makes a request, and again if there is no answer in time.
func twice(ctx context.Context, wait time.Duration, f func(context.Context) error) error {
	for again := true; ; again = false {
		fctx, cancel := context.WithTimeout(ctx, wait)
		err := f(fctx)
		cancel()
		silent := errors.Is(err, ble.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
		if !again || !silent || ctx.Err() != nil {
			return err
		}
	}
}

// once makes a request that nobody waits for long.
func once(ctx context.Context, wait time.Duration, f func(context.Context) error) error {
	fctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return f(fctx)
}

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
	if err := twice(ctx, registerWait, func(ctx context.Context) error {
		return l.ps.proxy.Notify(ctx, s.addr, valueHandle, true)
	}); err != nil {
		return err
	}
	if h := c.CCCD(); h != 0 {
		value := []byte{2, 0}
		if c.Properties.Has(ble.PropNotify) {
			value[0] = 1
		}
		if err := twice(ctx, cccdWait, func(ctx context.Context) error {
			return s.writeCCCD(ctx, l, h, value)
		}); err != nil {
			if nerr := s.unregister(ctx, l, valueHandle); nerr != nil {
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
		if err := once(ctx, cccdWait, func(ctx context.Context) error {
			return s.writeCCCD(ctx, l, c.CCCD(), []byte{0, 0})
		}); err != nil {
			s.m.log.Debug("cannot clear the CCCD", "device", s.addr, "handle", valueHandle, "error", err)
		}
	}
	if err := s.unregister(ctx, l, valueHandle); err != nil {
		s.m.log.Debug("cannot end the proxy's notifications", "device", s.addr, "handle", valueHandle, "error", err)
	}
}

// writeCCCD writes a Client Characteristic Configuration and waits for the peripheral's answer.
func (s *session) writeCCCD(ctx context.Context, l *link, handle uint16, value []byte) error {
	_, err := l.ps.proxy.Do(ctx, s.addr, ble.Operation{Kind: ble.OpWriteDescriptor, Handle: handle, Value: value})
	return err
}

// unregister ends the proxy's notifications of a handle.
func (s *session) unregister(ctx context.Context, l *link, valueHandle uint16) error {
	return once(ctx, registerWait, func(ctx context.Context) error {
		return l.ps.proxy.Notify(ctx, s.addr, valueHandle, false)
	})
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
