package bluezshim

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"

	"github.com/godbus/dbus/v5"
)

// A service is one GATT service of a peer, with one D-Bus object under each adapter's device.
type service struct {
	peer  *peer
	def   ble.Service
	uuid  string
	chars []*char
}

// claimed services belong to bluetoothd's own profiles; they are exported read-only (bluetoothd 5.87,
// ExportClaimedServices=read-only).
var claimed = []ble.UUID{
	ble.UUID16(0x1800), ble.UUID16(0x180a), ble.UUID16(0x180f), ble.UUID16(0x1812), ble.UUID16(0x1813),
}

func (s *service) readOnly() bool { return slices.Contains(claimed, s.def.UUID) }

func newService(p *peer, def ble.Service) *service {
	s := &service{peer: p, def: def, uuid: def.UUID.String()}
	for i, cd := range def.Characteristics {
		if slices.ContainsFunc(def.Characteristics[:i], func(x ble.Characteristic) bool { return x.Handle == cd.Handle }) {
			continue // a path names one object
		}
		c := newChar(s, cd)
		s.chars = append(s.chars, c)
		p.chars[cd.ValueHandle] = c
	}
	return s
}

// linkResolved publishes the database, and only then says so: clients list the objects when ServicesResolved
// turns true.
func (s *Shim) linkResolved(a ble.Address, db *ble.Database, mtu int) {
	p := s.peers[a]
	if p == nil || !p.connected {
		return
	}
	if p.mtu != mtu {
		p.mtu = mtu
		for _, c := range p.chars {
			c.changed("MTU")
		}
	}
	p.setDatabase(db)
	p.beforeResolved(p.servicesResolved)
}

func (p *peer) servicesResolved() {
	p.setServiceUUIDs() // one signal with the next
	p.resolved, p.everResolved = true, true
	p.changed("ServicesResolved")
	if p.heldPaired {
		p.heldPaired = false
		p.changed("Paired")
	}
	for _, c := range p.chars {
		c.rearmed()
		c.settleAcquireWrite(nil)
	}
	p.pairDone()
	p.afterResolve()
}

// setDatabase makes the objects those of db. What did not change keeps its objects, so that a
// reconnection announces nothing (bluetoothd 5.87).
func (p *peer) setDatabase(db *ble.Database) {
	var next []*service
	for _, def := range db.Services {
		i := slices.IndexFunc(p.services, func(s *service) bool { return reflect.DeepEqual(s.def, def) })
		if i >= 0 && !slices.Contains(next, p.services[i]) {
			next = append(next, p.services[i])
		}
	}
	for _, s := range p.services {
		if !slices.Contains(next, s) {
			s.remove()
		}
	}
	for _, def := range db.Services {
		if slices.ContainsFunc(next, func(s *service) bool { return s.def.Handle == def.Handle }) {
			continue
		}
		s := newService(p, def)
		next = append(next, s)
		for _, d := range p.devices {
			s.publish(d)
		}
	}
	slices.SortFunc(next, func(a, b *service) int { return cmp.Compare(a.def.Handle, b.def.Handle) })
	p.services, p.db = next, db
	if p.resolved {
		p.setServiceUUIDs()
	}
}

// setServiceUUIDs makes UUIDs the sorted union of what was advertised and what is there.
func (p *peer) setServiceUUIDs() {
	var list []ble.UUID
	if !p.everResolved {
		list = slices.Clone(p.uuids)
	}
	for _, s := range p.services {
		if len(list) < maxUUIDs*2 {
			list = append(list, s.def.UUID)
		}
	}
	slices.SortFunc(list, func(a, b ble.UUID) int { return slices.Compare(a[:], b[:]) })
	list = slices.Compact(list)
	if !slices.Equal(list, p.uuids) {
		p.uuids = list
		p.changed("UUIDs")
		if p.st.Bonded {
			p.save()
		}
	}
}

// publishServices gives a device object that comes later than the link the same GATT objects.
func (d *device) publishServices() {
	for _, s := range d.peer.services {
		s.publish(d)
	}
}

func (s *service) publish(d *device) {
	conn := d.adapter.shim.conn
	path := d.path + dbus.ObjectPath(fmt.Sprintf("/service%04x", s.def.Handle))
	if d.services == nil {
		d.services = map[uint16]*dbusobj.Object{}
	}
	d.services[s.def.Handle] = conn.Add(path, s, s.peer.shim.ifaces.service)
	for _, c := range s.chars {
		cp := path + dbus.ObjectPath(fmt.Sprintf("/char%04x", c.def.Handle))
		c.objs = append(c.objs, conn.Add(cp, c, s.peer.shim.ifaces.char))
		for _, de := range c.descs {
			dp := cp + dbus.ObjectPath(fmt.Sprintf("/desc%04x", de.def.Handle))
			de.objs = append(de.objs, conn.Add(dp, de, s.peer.shim.ifaces.desc))
		}
	}
}

// unpublished forgets the objects under a device that was removed.
func (s *service) unpublished(d *device) {
	gone := func(o *dbusobj.Object) bool { return strings.HasPrefix(string(o.Path()), string(d.path)+"/") }
	for _, c := range s.chars {
		c.objs = slices.DeleteFunc(c.objs, gone)
		for _, de := range c.descs {
			de.objs = slices.DeleteFunc(de.objs, gone)
		}
	}
}

func (s *service) remove() {
	for _, c := range s.chars {
		c.removed()
		if s.peer.chars[c.def.ValueHandle] == c {
			delete(s.peer.chars, c.def.ValueHandle)
		}
	}
	for _, d := range s.peer.devices {
		if o := d.services[s.def.Handle]; o != nil {
			d.adapter.shim.conn.Remove(o)
			delete(d.services, s.def.Handle)
		}
	}
}

// newServiceInterface makes org.bluez.GattService1. A proxy does not say whether a service is secondary, nor
// what it includes.
func newServiceInterface() *dbusobj.Interface {
	return &dbusobj.Interface{
		Name: "org.bluez.GattService1",
		Properties: []dbusobj.Property{
			{Name: "Handle", Type: "q", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Uint16(o.Data().(*service).def.Handle) }},
			{Name: "UUID", Type: "s", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.String(o.Data().(*service).uuid) }},
			{Name: "Device", Type: "o", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.ObjectPath(parent(o)) }},
			{Name: "Primary", Type: "b", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Bool(true) }},
			{Name: "Includes", Type: "ao", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Array("o", func() {}) }},
		},
	}
}

// parent is the path of the object above o.
func parent(o *dbusobj.Object) dbus.ObjectPath {
	p := o.Path()
	for i := len(p) - 1; i > 0; i-- {
		if p[i] == '/' {
			return p[:i]
		}
	}
	return "/"
}
