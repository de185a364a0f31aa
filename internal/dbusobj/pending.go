package dbusobj

import (
	"slices"

	"github.com/godbus/dbus/v5"
)

// pending is what is not yet announced of one object. It is sent in this order.
type pending struct {
	added   []*compiled
	changed []change
	removed []string // names, the last removed first
}

// change is the changed properties of one interface, in the order of their first change.
type change struct {
	iface *compiled
	props []int // indices
}

func (p *pending) isNew(i *compiled) bool { return slices.Contains(p.added, i) }

// pendingList is the objects with something to announce, in the order in which that began.
type pendingList struct {
	objects  []*Object
	flushing bool
	spare    []*pending
}

// pending returns the object's pending, which it begins if there is none.
func (o *Object) pending() *pending {
	if o.pend == nil {
		l := &o.conn.pending
		if n := len(l.spare); n > 0 {
			o.pend, l.spare = l.spare[n-1], l.spare[:n-1]
		} else {
			o.pend = new(pending)
		}
		l.objects = append(l.objects, o)
	}
	return o.pend
}

// dropPending forgets what is pending; the object stays in the list, without effect.
func (o *Object) dropPending() {
	p := o.pend
	o.pend = nil
	if p == nil || len(o.conn.pending.spare) >= 64 {
		return
	}
	clear(p.added)
	clear(p.removed)
	p.added, p.changed, p.removed = p.added[:0], p.changed[:0], p.removed[:0]
	o.conn.pending.spare = append(o.conn.pending.spare, p)
}

// Changed notes that properties of an interface changed. The next flush sends one PropertiesChanged for each interface,
// with the values at that time; a property that does not exist by then is listed as invalidated. While the interface's
// InterfacesAdded is pending, which will hold the values anyway, nothing is noted.
func (o *Object) Changed(i *Interface, props ...string) {
	have := o.find(i)
	if have == nil || o.pend != nil && o.pend.isNew(have) {
		return
	}
	for _, name := range props {
		n := have.property(name)
		if n < 0 {
			o.conn.log.Error("cannot announce change: no such property", "interface", i.Name, "property", name)
			continue
		}
		o.pending().note(have, n)
	}
}

func (p *pending) note(i *compiled, prop int) {
	for k := range p.changed {
		if c := &p.changed[k]; c.iface == i {
			if !slices.Contains(c.props, prop) {
				c.props = append(c.props, prop)
			}
			return
		}
	}
	if n := len(p.changed); n < cap(p.changed) {
		p.changed = p.changed[:n+1] // reuses the props of an earlier use
		c := &p.changed[n]
		c.iface, c.props = i, append(c.props[:0], prop)
		return
	}
	p.changed = append(p.changed, change{i, []int{prop}})
}

// ChangedNow announces the present value of one property at once, after all that is
// pending, so that no two of its values are merged.
func (o *Object) ChangedNow(i *Interface, prop string) {
	o.conn.Flush()
	have := o.find(i)
	if have == nil || o.pend != nil && o.pend.isNew(have) {
		return
	}
	if n := have.property(prop); n >= 0 {
		o.emitChanged(change{have, []int{n}})
	} else {
		o.conn.log.Error("cannot announce change: no such property", "interface", i.Name, "property", prop)
	}
}

// Flush sends all signals that are pending: for each object what was added, changed and
// removed. It happens by itself before each reply, error, call and explicit signal and at
// the end of each event.
func (c *Conn) Flush() {
	l := &c.pending
	if l.flushing || len(l.objects) == 0 {
		return
	}
	l.flushing = true
	defer func() { l.flushing = false }()
	for i := 0; i < len(l.objects); i++ {
		l.objects[i].process()
	}
	clear(l.objects)
	l.objects = l.objects[:0]
}

// process sends what is pending for one object.
func (o *Object) process() {
	p := o.pend
	if p == nil {
		return
	}
	o.processAdded()
	for len(p.changed) > 0 {
		o.processChanged(p.changed[0].iface)
	}
	if len(p.removed) > 0 {
		o.conn.emit("/", objectManagerName, "InterfacesRemoved", "oas", func(e *Encoder) {
			e.ObjectPath(o.path)
			e.Strings(p.removed)
		})
	}
	o.dropPending()
}

// processAdded sends InterfacesAdded, after those of the objects above.
func (o *Object) processAdded() {
	for up := o; up.parent != nil; up = up.parent {
		if up.parent.pend != nil && len(up.parent.pend.added) > 0 {
			up.parent.processAdded()
		}
	}
	p := o.pend
	if p == nil || len(p.added) == 0 {
		return
	}
	added := p.added
	p.added = nil
	o.conn.emit("/", objectManagerName, "InterfacesAdded", "oa{sa{sv}}", func(e *Encoder) {
		e.ObjectPath(o.path)
		e.interfaces(o, added)
	})
	if clear(added); p.added == nil {
		p.added = added[:0]
	}
}

// processChanged sends PropertiesChanged for one interface if something is pending.
func (o *Object) processChanged(i *compiled) {
	if o.pend == nil {
		return
	}
	k := slices.IndexFunc(o.pend.changed, func(c change) bool { return c.iface == i })
	if k < 0 {
		return
	}
	c := o.pend.changed[k]
	o.emitChanged(c)
	// Keep the entry's memory behind the end, for note.
	last := len(o.pend.changed) - 1
	copy(o.pend.changed[k:], o.pend.changed[k+1:])
	o.pend.changed[last] = change{props: c.props[:0]}
	o.pend.changed = o.pend.changed[:last]
}

func (o *Object) emitChanged(c change) {
	o.conn.emit(o.path, propertiesName, "PropertiesChanged", "sa{sv}as", func(e *Encoder) {
		e.String(c.iface.Name)
		e.properties(o, c.iface, c.props)
		e.Array("s", func() {
			for _, n := range c.props {
				if p := &c.iface.Properties[n]; !p.exists(o) {
					e.String(p.Name)
				}
			}
		})
	})
}

// Emit sends a signal of an interface at once, after all that is pending; args appends
// the arguments and may be nil if there are none.
func (o *Object) Emit(i *Interface, signal string, args func(*Encoder)) {
	o.conn.Flush()
	have := o.find(i)
	if have == nil {
		return
	}
	sig, ok := have.signals[signal]
	if !ok {
		o.conn.log.Error("cannot emit signal: no such signal", "interface", i.Name, "signal", signal)
		return
	}
	o.conn.emit(o.path, i.Name, signal, sig, args)
}

// emit sends a signal without a flush.
func (c *Conn) emit(path dbus.ObjectPath, iface, member, sig string, args func(*Encoder)) {
	_ = c.encode("signal "+iface+"."+member, sig, args, func(body []byte, fds []int) bool {
		return c.out.send(&outgoing{
			typ: dbus.TypeSignal, flags: flagNoReply, serial: c.nextSerial(),
			path: string(path), iface: iface, member: member, sig: sig,
		}, body, fds)
	})
}
