package gatt

import (
	"context"
	"errors"

	"bluez-esphome/internal/ble"
)

// Do is [Manager.Do] on a link that the owner holds.
func (o *Owner) Do(a ble.Address, op ble.Operation, done func([]byte, error)) {
	if !o.holds(a) {
		o.s.m.events.post(func() { done(nil, ble.ErrNotConnected) })
		return
	}
	o.s.m.do(o, a, op, done)
}

// Subscribe is [Manager.Subscribe]; what several owners subscribe is enabled once.
func (o *Owner) Subscribe(a ble.Address, valueHandle uint16, done func(error)) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.closed {
		s.m.events.post(func() { done(ble.ErrCanceled) })
		return
	}
	d := s.deviceLocked(a)
	holds := d.uses[o] != nil && d.uses[o].told
	if !holds && !o.cfg.KeepSubscriptions {
		s.tidyLocked(a, d)
		s.m.events.post(func() { done(ble.ErrNotConnected) })
		return
	}
	if d.subs[valueHandle] == nil {
		d.subs[valueHandle] = make(map[*Owner]bool)
	}
	d.subs[valueHandle][o] = true
	if !holds && len(d.uses) > 0 { // the link is another's: it is armed when this owner joins
		s.m.events.post(func() { done(nil) })
		return
	}
	s.m.Subscribe(a, valueHandle, func(err error) {
		if err != nil && !errors.Is(err, ble.ErrNotConnected) {
			s.mu.Lock()
			s.forgetLocked(o, a, d, valueHandle)
			s.mu.Unlock()
		}
		done(err)
	})
}

// Unsubscribe is [Manager.Unsubscribe]; notifications end when no owner wants them any more.
func (o *Owner) Unsubscribe(a ble.Address, valueHandle uint16) {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if d := o.s.devices[a]; d != nil {
		o.s.unsubscribeLocked(o, a, d, valueHandle)
	}
}

// SubscribedElsewhere reports whether another owner subscribed the characteristic.
func (o *Owner) SubscribedElsewhere(a ble.Address, valueHandle uint16) bool {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	d := o.s.devices[a]
	if d == nil {
		return false
	}
	n := len(d.subs[valueHandle])
	if d.subs[valueHandle][o] {
		n--
	}
	return n > 0
}

func (s *Owners) unsubscribeLocked(o *Owner, a ble.Address, d *ownedDevice, valueHandle uint16) {
	if !d.subs[valueHandle][o] {
		return
	}
	s.forgetLocked(o, a, d, valueHandle)
	if len(d.subs[valueHandle]) == 0 {
		s.m.Unsubscribe(a, valueHandle)
	}
}

// forgetLocked strikes one subscription out.
func (s *Owners) forgetLocked(o *Owner, a ble.Address, d *ownedDevice, valueHandle uint16) {
	subs := d.subs[valueHandle]
	delete(subs, o)
	if len(subs) == 0 {
		delete(d.subs, valueHandle)
	}
	s.tidyLocked(a, d)
}

// Pair is [Manager.Pair]; the other owners are told as if the peripheral had asked for it.
func (o *Owner) Pair(a ble.Address, done func(error)) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[a]
	if d == nil || d.uses[o] == nil || !d.uses[o].told {
		s.m.events.post(func() { done(ble.ErrNotConnected) })
		return
	}
	u := d.uses[o]
	u.pairing++
	s.m.Pair(a, func(err error) {
		s.mu.Lock()
		u.pairing = max(u.pairing-1, 0)
		s.mu.Unlock()
		done(err)
		if err == nil {
			s.bondChanged(o, a, true)
		}
	})
}

// bondChanged tells everybody but o, in the goroutine of the events.
func (s *Owners) bondChanged(o *Owner, a ble.Address, bonded bool) {
	s.mu.Lock()
	var others []*Owner
	for _, p := range s.owners {
		if p != o {
			others = append(others, p)
		}
	}
	s.mu.Unlock()
	for _, p := range others {
		p.cfg.Events.Paired(a, bonded)
	}
}

// Forget is [Manager.Forget]. Subscriptions of other owners stay.
func (o *Owner) Forget(a ble.Address) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m.Forget(a)
	d := s.devices[a]
	if d == nil {
		return
	}
	s.dropSubsLocked(o, a, d)
	for h := range d.subs {
		s.m.Subscribe(a, h, func(error) {}) // they are armed, but are to be remembered
	}
}

// Unpair is [Manager.Unpair], which needs no link. An error is one of the proxy's, or wraps ble.ErrNotConnected.
func (o *Owner) Unpair(ctx context.Context, a ble.Address, proxy string) error {
	if err := o.s.m.Unpair(ctx, a, proxy); err != nil {
		return err
	}
	o.s.m.events.post(func() { o.s.bondChanged(o, a, false) })
	return nil
}

// ClearCache is [Manager.ClearCache].
func (o *Owner) ClearCache(ctx context.Context, a ble.Address) (bool, error) {
	return o.s.m.ClearCache(ctx, a)
}

// SetConnectionParams is [Manager.SetConnectionParams].
func (o *Owner) SetConnectionParams(ctx context.Context, a ble.Address, p ble.ConnectionParams) error {
	if !o.holds(a) {
		return ble.ErrNotConnected
	}
	return o.s.m.SetConnectionParams(ctx, a, p)
}
