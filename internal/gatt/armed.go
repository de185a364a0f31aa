package gatt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

// standing is what was made of a subscription on one link.
type standing struct {
	registered bool   // at the proxy
	value      uint16 // of the CCCD
	known      bool   // the CCCD has that value; otherwise a write of it was not answered
}

// on reports whether the peripheral will notify, and the proxy pass it on.
func (s standing) on() bool { return s.registered && s.known && s.value != 0 }

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

// cccdValue is what the CCCD of c is to have for what is wanted. Bits that the properties do not offer do not count
// beside others: what they do to a peripheral is not known. Alone they are for the peripheral to judge.
func cccdValue(c *ble.Characteristic, bits uint16) uint16 {
	var can uint16
	if c.Properties.Has(ble.PropNotify) {
		can |= cccdNotify
	}
	if c.Properties.Has(ble.PropIndicate) {
		can |= cccdIndicate
	}
	value := bits & can
	if bits&cccdDefault != 0 && value&cccdNotify == 0 {
		if can&cccdNotify != 0 {
			value |= cccdNotify
		} else {
			value |= cccdIndicate
		}
	}
	if value == 0 {
		value = bits &^ (cccdDefault | cccdListen)
	}
	return value
}

// converge brings proxy and peripheral to what is wanted of a characteristic now. To begin it registers at the proxy,
// then writes the CCCD: what comes in between is not lost. Without a CCCD there is nothing to write (bluetoothd 5.87,
// GattCharacteristic1 StartNotify). What stands already is not asked for again.
func (s *session) converge(ctx context.Context, l *link, db *ble.Database, valueHandle uint16) error {
	s.m.mu.Lock()
	bits := s.dev.wantLocked(valueHandle)
	s.m.mu.Unlock()
	if valueHandle == l.serviceChanged && valueHandle != 0 {
		bits |= cccdDefault // ours
	}
	c := characteristic(db, valueHandle)
	have := l.armed[valueHandle]
	switch {
	case c == nil && bits != 0:
		return errNoAttribute
	case c == nil:
		delete(l.armed, valueHandle)
		return nil
	case bits != 0:
		return s.enable(ctx, l, c, cccdValue(c, bits))
	case have != standing{}:
		return s.disable(ctx, l, c)
	}
	return nil
}

func (s *session) enable(ctx context.Context, l *link, c *ble.Characteristic, value uint16) error {
	have := l.armed[c.ValueHandle]
	was, fresh := have.registered, have == standing{}
	if !was {
		if err := twice(ctx, registerWait, func(ctx context.Context) error {
			return l.ps.proxy.Notify(ctx, s.addr, c.ValueHandle, true)
		}); err != nil {
			return err
		}
		have.registered = true
		if fresh && value == 0 { // nobody has written it on this link, and nobody is to
			have.known = true
		}
		l.armed[c.ValueHandle] = have
	}
	err := s.configureAt(ctx, l, c, value, twice)
	if err != nil && !was && s.unregister(ctx, l, c.ValueHandle) {
		have = l.armed[c.ValueHandle]
		have.registered = false
		l.armed[c.ValueHandle] = have
	}
	return err
}

// disable is the reverse of enable. It goes on after an error.
func (s *session) disable(ctx context.Context, l *link, c *ble.Characteristic) error {
	err := s.configureAt(ctx, l, c, 0, once)
	if err != nil {
		s.m.log.Debug("cannot clear the CCCD", "device", s.addr, "handle", c.ValueHandle, "error", err)
	}
	s.unregister(ctx, l, c.ValueHandle)
	have := l.armed[c.ValueHandle]
	have.registered = false
	l.armed[c.ValueHandle] = have
	if have == (standing{known: true}) {
		delete(l.armed, c.ValueHandle)
	}
	return err
}

// configureAt has the CCCD of c be value, and notes what stands there.
func (s *session) configureAt(ctx context.Context, l *link, c *ble.Characteristic, value uint16,
	ask func(context.Context, time.Duration, func(context.Context) error) error) error {
	have := l.armed[c.ValueHandle]
	h := c.CCCD()
	if h == 0 {
		have.value, have.known = value, true
		l.armed[c.ValueHandle] = have
		return nil
	}
	if have.known && have.value == value {
		return nil
	}
	err := ask(ctx, cccdWait, func(ctx context.Context) error {
		return s.writeCCCD(ctx, l, h, []byte{byte(value), byte(value >> 8)})
	})
	var att ble.ATTError
	switch {
	case err == nil:
		have.value, have.known = value, true
	case !errors.As(err, &att): // a refusal changes nothing, anything else may have
		have.known = false
	}
	l.armed[c.ValueHandle] = have
	return err
}

// writeCCCD writes a Client Characteristic Configuration and waits for the peripheral's answer.
func (s *session) writeCCCD(ctx context.Context, l *link, handle uint16, value []byte) error {
	_, err := l.ps.proxy.Do(ctx, s.addr, ble.Operation{Kind: ble.OpWriteDescriptor, Handle: handle, Value: value})
	return err
}

// unregister ends the proxy's notifications of a handle, and reports whether the proxy said so.
func (s *session) unregister(ctx context.Context, l *link, valueHandle uint16) bool {
	err := once(ctx, registerWait, func(ctx context.Context) error {
		return l.ps.proxy.Notify(ctx, s.addr, valueHandle, false)
	})
	if err != nil {
		s.m.log.Debug("cannot end the proxy's notifications", "device", s.addr, "handle", valueHandle, "error", err)
	}
	return err == nil
}

// armServiceChanged has the peripheral tell of changes of its database. The error is nil where it has no such
// characteristic.
func (s *session) armServiceChanged(ctx context.Context, l *link, db *ble.Database) error {
	c := db.Find(ble.UUIDServiceChanged)
	if c == nil || !c.Properties.Has(ble.PropIndicate|ble.PropNotify) {
		return nil
	}
	s.m.mu.Lock()
	l.serviceChanged = c.ValueHandle
	s.m.mu.Unlock()
	err := s.converge(ctx, l, db, c.ValueHandle)
	if err != nil {
		s.m.log.Debug("cannot subscribe to Service Changed", "device", s.addr, "error", err)
	}
	return err
}

// arm subscribes to everything that is remembered. Only the end of the link is an error.
func (s *session) arm(ctx context.Context, l *link, db *ble.Database) error {
	m := s.m
	m.mu.Lock()
	subs := slices.Clone(s.dev.subs)
	m.mu.Unlock()
	s.db = db
	for _, sub := range subs {
		if ctx.Err() != nil {
			break
		}
		err := s.converge(ctx, l, db, sub.handle)
		if wantsSecurity(err) && s.raiseSecurity(ctx, l, nil) {
			err = s.converge(ctx, l, db, sub.handle)
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		m.log.Warn("cannot subscribe again", "device", s.addr, "proxy", l.ps.name, "handle", sub.handle, "error", err)
		m.postUnarmed(&m.events, s.addr, sub.handle, err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
