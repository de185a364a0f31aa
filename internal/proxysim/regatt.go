package proxysim

import (
	"encoding/binary"
	"fmt"
	"slices"

	"bluez-esphome/internal/ble"
)

// SetGATT gives a peripheral another GATT table at once, as an update of its firmware or a restart into another image
// does, also while it is linked. With indicate a central that enabled Service Changed is told of it, by the table that
// it knows. Writes so far stay; Reset brings the table of the file back.
func (a *Air) SetGATT(id string, spec GATTSpec, indicate bool) error {
	return a.with(id, func(p *peripheral) error {
		t, err := newAttributeTable(spec)
		if err != nil {
			return fmt.Errorf("cannot change the GATT table of %q: %w", id, err)
		}
		if indicate && p.link != nil {
			if h := p.table.valueHandle(ble.UUIDServiceChanged); h != 0 {
				p.link.notify(h, binary.LittleEndian.AppendUint16([]byte{1, 0}, 0xffff), cccdIndicate)
			}
		}
		p.setTable(t)
		return nil
	})
}

// setTable replaces the table. What is configured for characteristics that are still where they were stays so.
func (p *peripheral) setTable(t *attributeTable) {
	p.table, p.early = t, nil
	l := p.link
	if l == nil {
		return
	}
	for h := range l.cccd {
		if !slices.ContainsFunc(t.cccds, func(a *attribute) bool { return a.handle == h }) {
			delete(l.cccd, h)
		}
	}
	for _, e := range l.timed {
		l.air.sched.stop(e)
	}
	l.timed = make([]*event, len(t.timed))
	for i, n := range t.timed {
		l.startTimed(i, n, 0)
	}
}

// restoreTable gives the peripheral the table of the file again, with its values.
func (p *peripheral) restoreTable() {
	p.table.restore()
	if t, err := newAttributeTable(p.spec.GATT); err == nil && !slices.EqualFunc(t.services, p.table.services, sameService) {
		p.setTable(t)
	}
	p.early = nil
}

func sameService(x, y ble.Service) bool {
	return x.UUID == y.UUID && x.Handle == y.Handle && slices.EqualFunc(x.Characteristics, y.Characteristics, func(a, b ble.Characteristic) bool {
		return a.UUID == b.UUID && a.ValueHandle == b.ValueHandle && a.Properties == b.Properties && slices.Equal(a.Descriptors, b.Descriptors)
	})
}

// valueHandle finds a characteristic, 0 for none.
func (t *attributeTable) valueHandle(u ble.UUID) uint16 {
	for _, s := range t.services {
		for _, c := range s.Characteristics {
			if c.UUID == u {
				return c.ValueHandle
			}
		}
	}
	return 0
}

// NotifyEarly has a peripheral notify a value of the characteristic with that value handle, or indicate it, as soon as
// it is enabled: before the answer to the write of the CCCD, as many do. It goes for every time until Reset.
func (a *Air) NotifyEarly(id string, handle uint16, value []byte) error {
	return a.with(id, func(p *peripheral) error {
		if !slices.ContainsFunc(p.table.cccds, func(c *attribute) bool { return c.cccdOf == handle }) {
			return fmt.Errorf("cannot notify handle %d: it has no configuration", handle)
		}
		if p.early == nil {
			p.early = map[uint16][]byte{}
		}
		p.early[handle] = value
		return nil
	})
}

// enabled is called with each write of a CCCD.
func (p *peripheral) enabled(l *link, cccd *attribute) {
	if p.server != nil {
		p.server.subscribed(l, cccd.cccdOf)
	}
	if v, ok := p.early[cccd.cccdOf]; ok {
		l.notify(cccd.cccdOf, v, cccdNotify|cccdIndicate)
	}
}
