package gatt

import (
	"context"
	"fmt"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
)

// Do implements links.Links. A write of a characteristic's configuration says what this owner wants of it, and never
// ends what another does.
func (o *Owner) Do(a ble.Address, op ble.Operation, done func([]byte, error)) {
	o.s.mu.Lock()
	d := o.s.devices[a]
	holds := d.holdsLocked(o)
	var configures uint16
	if holds && !op.Kind.Reads() {
		configures = d.cccds[op.Handle]
	}
	o.s.mu.Unlock()
	switch {
	case !holds:
		o.s.m.events.post(func() { done(nil, ble.ErrNotConnected) })
	case configures != 0:
		o.writeCCCD(a, configures, op.Value, done)
	default:
		o.s.m.do(o, a, op, done)
	}
}

// mayTouch returns an error that wraps links.ErrInUse unless what belongs to a peripheral as a whole, its bond and its
// cached table, is this owner's to change. A guest may change it where nobody else holds the link or waits for it, and
// no other party made the bond; or, unless owners are exclusive, while it holds the link itself, as any client of a
// real proxy may.
func (o *Owner) mayTouch(a ble.Address) error {
	if !o.cfg.Guest {
		return nil
	}
	r := o.s.m.record(a)
	theirs := r.Bonded != "" && (r.BondedBy == "" || r.BondedBy != o.cfg.Party)
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	d := o.s.devices[a]
	switch {
	case !o.s.exclusive && d.holdsLocked(o):
		return nil
	case d != nil && d.othersLocked(o) > 0:
		return fmt.Errorf("%s is connected for another party: %w", a, links.ErrInUse)
	case theirs:
		return fmt.Errorf("%s was paired by another party: %w", a, links.ErrInUse)
	}
	return nil
}

// onlyHolder is the party that holds the link to a if it is the only one: a bond that comes up on it without anybody
// having asked is its bond.
func (s *Owners) onlyHolder(a ble.Address) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[a]
	if d == nil || len(d.uses) != 1 {
		return ""
	}
	for o := range d.uses {
		return o.cfg.Party
	}
	return ""
}

// Pair implements links.Links. The other owners are told as if the peripheral had asked for it.
func (o *Owner) Pair(a ble.Address, done func(error)) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[a]
	if !d.holdsLocked(o) {
		s.m.events.post(func() { done(ble.ErrNotConnected) })
		return
	}
	u := d.uses[o]
	u.pairing++
	s.m.pair(o, a, func(err error) {
		s.mu.Lock()
		u.pairing = max(u.pairing-1, 0)
		s.mu.Unlock()
		done(err)
		if err == nil {
			s.bondChanged(o, a, true)
		}
	})
}

// bondChanged tells everybody but o. It is called as an event.
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

// Forget implements links.Links. Subscriptions of other owners stay.
func (o *Owner) Forget(a ble.Address) {
	if o.mayTouch(a) == nil {
		o.s.m.Forget(a) // without Owners.mu: it asks the Store
	}
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if d := o.s.devices[a]; d != nil {
		d.forgetSubsLocked(o)
		o.s.changedLocked(a, d)
	}
}

// Unpair implements links.Links. It needs no link. An error is one of the proxy's, or wraps ble.ErrNotConnected or
// links.ErrInUse.
func (o *Owner) Unpair(ctx context.Context, a ble.Address, proxy string) error {
	if err := o.mayTouch(a); err != nil {
		return fmt.Errorf("cannot unpair: %w", err)
	}
	if err := o.s.m.Unpair(ctx, a, proxy); err != nil {
		return err
	}
	o.s.m.events.post(func() { o.s.bondChanged(o, a, false) })
	return nil
}

// DropCache implements links.Links.
func (o *Owner) DropCache(a ble.Address) {
	if o.mayTouch(a) == nil {
		o.s.m.forgetDatabase(a)
	}
}

// ClearCache implements links.Links. An error may wrap links.ErrInUse.
func (o *Owner) ClearCache(ctx context.Context, a ble.Address) (bool, error) {
	if err := o.mayTouch(a); err != nil {
		return false, fmt.Errorf("cannot clear the cache: %w", err)
	}
	return o.s.m.ClearCache(ctx, a)
}

// SetConnectionParams implements links.Links. An error may wrap links.ErrInUse: where owners are exclusive, a link that
// they share from before they were is nobody's to change.
func (o *Owner) SetConnectionParams(ctx context.Context, a ble.Address, p ble.ConnectionParams) error {
	o.s.mu.Lock()
	d := o.s.devices[a]
	holds := d.holdsLocked(o)
	inUse := holds && o.cfg.Guest && o.s.exclusive && d.othersLocked(o) > 0
	o.s.mu.Unlock()
	switch {
	case !holds:
		return ble.ErrNotConnected
	case inUse:
		return fmt.Errorf("cannot set the connection parameters: %w", links.ErrInUse)
	}
	return o.s.m.setConnectionParams(ctx, o, a, p)
}
