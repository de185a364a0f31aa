package gatt

import (
	"context"
	"errors"
	"maps"
	"slices"

	"bluez-esphome/internal/ble"
)

// ownedSub is what one owner wants of a characteristic's configuration.
type ownedSub struct {
	bits  uint16 // of the CCCD, never 0
	armed bool   // it was answered that they are in effect: notifications are told
}

// There is one configuration of a characteristic, and what stands in it is the union of what the owners want that hold
// the link. No owner's change takes another's bits away. While nobody holds the link those count who keep their
// subscriptions.

// wantedLocked is that union.
func (d *ownedDevice) wantedLocked(valueHandle uint16) uint16 {
	var bits uint16
	for o, sub := range d.subs[valueHandle] {
		if d.uses[o] != nil || len(d.uses) == 0 {
			bits |= sub.bits
		}
	}
	return bits
}

// syncLocked has the Manager know of what is wanted otherwise than it was told.
func (s *Owners) syncLocked(a ble.Address, d *ownedDevice) {
	handles := slices.Collect(maps.Keys(d.subs))
	for h := range d.asked {
		if d.subs[h] == nil {
			handles = append(handles, h)
		}
	}
	slices.Sort(handles)
	for _, h := range handles {
		if bits := d.wantedLocked(h); bits != d.asked[h] {
			s.askLocked(nil, a, d, h, func(err error) {
				if err != nil && !errors.Is(err, ble.ErrNotConnected) && bits != 0 {
					s.m.log.Warn("cannot subscribe again", "device", a, "handle", h, "error", err)
					s.unarmed(a, h, err)
				}
			})
		}
	}
}

// askLocked tells the Manager what is wanted now; done is called when it is so, or cannot be.
func (s *Owners) askLocked(party *Owner, a ble.Address, d *ownedDevice, valueHandle uint16, done func(error)) {
	bits := d.wantedLocked(valueHandle)
	if bits == 0 {
		delete(d.asked, valueHandle)
	} else {
		d.asked[valueHandle] = bits
	}
	s.m.configure(party, a, valueHandle, bits, done)
}

// Subscribe implements links.Links. What several owners subscribe is enabled once.
func (o *Owner) Subscribe(a ble.Address, valueHandle uint16, done func(error)) {
	o.configure(a, valueHandle, func(uint16) uint16 { return cccdDefault }, done)
}

// Listen implements links.Links.
func (o *Owner) Listen(a ble.Address, valueHandle uint16, on bool, done func(error)) {
	o.configure(a, valueHandle, func(bits uint16) uint16 {
		if on {
			return bits | cccdListen
		}
		return bits &^ cccdListen
	}, done)
}

// Unsubscribe implements links.Links.
func (o *Owner) Unsubscribe(a ble.Address, valueHandle uint16) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.devices[a]; d != nil && d.subs[valueHandle][o] != nil {
		d.forgetSubLocked(o, valueHandle)
		s.changedLocked(a, d)
	}
}

// configure changes what an owner wants of a characteristic's configuration; change is given the bits so far, 0 is for
// nothing.
func (o *Owner) configure(a ble.Address, valueHandle uint16, change func(uint16) uint16, done func(error)) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.closed {
		s.m.events.post(func() { done(ble.ErrCanceled) })
		return
	}
	d := s.deviceLocked(a)
	before := d.subs[valueHandle][o]
	var bits uint16
	if before != nil {
		bits = before.bits
	}
	bits = change(bits)
	switch {
	case !d.holdsLocked(o) && !o.cfg.KeepSubscriptions:
		s.changedLocked(a, d)
		s.m.events.post(func() { done(ble.ErrNotConnected) })
		return
	case bits != 0 && before == nil && len(d.subs[valueHandle]) == 0 && len(d.subs) >= maxSubscriptions:
		s.m.events.post(func() { done(ErrQueueFull) })
		return
	}
	now := &ownedSub{bits: bits, armed: before != nil && before.armed}
	d.forgetSubLocked(o, valueHandle)
	if bits != 0 {
		if d.subs[valueHandle] == nil {
			d.subs[valueHandle] = make(map[*Owner]*ownedSub)
		}
		d.subs[valueHandle][o] = now
	}
	// Where the link is another's this changes nothing yet: it is armed when this owner joins.
	s.askLocked(o, a, d, valueHandle, func(err error) {
		s.mu.Lock()
		current := d.subs[valueHandle][o] == now
		switch {
		case err == nil || errors.Is(err, ble.ErrNotConnected): // then with the next link
			now.armed = true
		case bits != 0 && current:
			d.forgetSubLocked(o, valueHandle)
			if before != nil {
				d.subs[valueHandle] = addSub(d.subs[valueHandle], o, before)
			}
			s.askLocked(o, a, d, valueHandle, nil) // also where nothing else is wanted: what stands may not be known
		}
		s.changedLocked(a, d)
		s.mu.Unlock()
		done(err)
	})
	s.changedLocked(a, d)
}

func addSub(subs map[*Owner]*ownedSub, o *Owner, sub *ownedSub) map[*Owner]*ownedSub {
	if subs == nil {
		subs = make(map[*Owner]*ownedSub)
	}
	subs[o] = sub
	return subs
}

// attCCCDImproper is the answer to a value that a CCCD cannot have (Core Specification Supplement, Part B, 1.2).
const attCCCDImproper ble.ATTError = 0xfd

// writeCCCD is an owner's write of a characteristic's configuration: it says what this owner wants. What is written is
// the union with what others do.
func (o *Owner) writeCCCD(a ble.Address, valueHandle uint16, value []byte, done func([]byte, error)) {
	refuse := func(err error) { o.s.m.events.post(func() { done(nil, err) }) }
	if len(value) != 2 {
		refuse(ble.ATTInvalidLength)
		return
	}
	bits := uint16(value[0]) | uint16(value[1])<<8
	if bits&^(cccdNotify|cccdIndicate) != 0 { // bits that are reserved: nobody knows what they end
		refuse(attCCCDImproper)
		return
	}
	o.configure(a, valueHandle, func(before uint16) uint16 { return before&cccdListen | bits }, func(err error) { done(nil, err) })
}

// subscribedLocked reports whether o subscribed anything.
func (d *ownedDevice) subscribedLocked(o *Owner) bool {
	for _, subs := range d.subs {
		if subs[o] != nil {
			return true
		}
	}
	return false
}

// forgetSubLocked strikes out what o wants of a characteristic.
func (d *ownedDevice) forgetSubLocked(o *Owner, valueHandle uint16) {
	delete(d.subs[valueHandle], o)
	if len(d.subs[valueHandle]) == 0 {
		delete(d.subs, valueHandle)
	}
}

// forgetSubsLocked strikes out everything that o subscribed.
func (d *ownedDevice) forgetSubsLocked(o *Owner) {
	for h := range d.subs {
		d.forgetSubLocked(o, h)
	}
}

// unarmed: a characteristic that is subscribed could not be enabled again. Those who subscribed it are told, and asked
// no more: what is not so must not be said to be. It is called as an event.
func (s *Owners) unarmed(a ble.Address, valueHandle uint16, err error) {
	s.mu.Lock()
	d := s.devices[a]
	if d == nil {
		s.mu.Unlock()
		return
	}
	var told []*Owner
	for _, o := range s.owners {
		if d.subs[valueHandle][o] != nil && (d.uses[o] != nil || len(d.uses) == 0) {
			d.forgetSubLocked(o, valueHandle)
			told = append(told, o)
		}
	}
	s.changedLocked(a, d)
	s.mu.Unlock()
	for _, o := range told {
		o.cfg.Events.Unsubscribed(a, valueHandle, err)
	}
}

// nothing is an operation that waits for those before it.
func nothing(context.Context, *link) error { return nil }
