package att

import (
	"encoding/binary"
	"slices"

	"bluez-esphome/internal/ble"
)

// Types of attributes that the table itself answers for (Bluetooth Core, Vol 3 Part G, 3.4).
var (
	typePrimary     = ble.UUID16(0x2800)
	typeSecondary   = ble.UUID16(0x2801)
	typeDeclaration = ble.UUID16(0x2803)
	uuidFeatures    = ble.UUID16(0x2b29) // Client Supported Features
	uuidServer      = ble.UUID16(0x2b3a) // Server Supported Features
)

// attribute is one attribute of the table.
type attribute struct {
	handle uint16
	uuid   ble.UUID // its type
	// static is the value of a service or a declaration, which the table has. nil: the peripheral has it.
	static []byte
	end    uint16 // of a service: the last handle of its group
	// value is the handle of the characteristic's value, for what belongs to a characteristic; else 0.
	value      uint16
	descriptor bool
}

// known reports whether the table has its value.
func (a *attribute) known() bool { return a.static != nil }

func (a *attribute) configures() bool { return a.descriptor && a.uuid == ble.UUIDCCCD }

func (a *attribute) reads() ble.OperationKind {
	if a.descriptor {
		return ble.OpReadDescriptor
	}
	return ble.OpRead
}

func (a *attribute) writes() ble.OperationKind {
	if a.descriptor {
		return ble.OpWriteDescriptor
	}
	return ble.OpWrite
}

// table is a database as ATT shows it: attributes by handle, each handle once.
type table struct {
	attributes []attribute
	services   []ble.SeenService
	changed    uint16 // value handle of Service Changed, 0 if there is none
}

// wireUUID is a UUID on the wire: 2 bytes where it has 16 bits, else 16 (Bluetooth Core, Vol 3 Part F, 3.2.1).
func wireUUID(u ble.UUID) []byte {
	if v, ok := u.Short(); ok && v <= 0xffff {
		return binary.LittleEndian.AppendUint16(nil, uint16(v))
	}
	b := slices.Clone(u[:])
	slices.Reverse(b)
	return b
}

// uuidOf reads a UUID of 2 or 16 bytes.
func uuidOf(b []byte) (ble.UUID, bool) {
	if len(b) == 2 || len(b) == 16 {
		return ble.UUIDFromAir(b), true
	}
	return ble.UUID{}, false
}

// newTable lays out a database. Package gatt builds sound ones; what does not fit all the same, from a damaged cache,
// is left out: a handle that is taken, an attribute outside of its service, or more than ble.MaxAttributes.
func newTable(db *ble.Database) *table {
	t := &table{}
	services := sorted(db.Services, func(s ble.Service) uint16 { return s.Handle })
	services = slices.CompactFunc(services, func(a, b ble.Service) bool { return a.Handle == b.Handle })
	for i := range services {
		s := &services[i]
		end := uint16(0xffff)
		if i+1 < len(services) {
			end = services[i+1].Handle - 1
		}
		if s.Handle > t.last() && s.Handle <= end && len(t.services) < ble.MaxServices {
			t.service(s, end)
		}
	}
	return t
}

// last is the highest handle yet.
func (t *table) last() uint16 {
	if n := len(t.attributes); n > 0 {
		return t.attributes[n-1].handle
	}
	return 0
}

func (t *table) service(s *ble.Service, end uint16) {
	first := len(t.attributes)
	t.attributes = append(t.attributes, attribute{handle: s.Handle, uuid: typePrimary, static: wireUUID(s.UUID), end: end})
	for _, c := range sorted(s.Characteristics, func(c ble.Characteristic) uint16 { return c.ValueHandle }) {
		if len(t.attributes) < ble.MaxAttributes {
			t.characteristic(c, end)
		}
	}
	h := newHash()
	for i := range t.attributes[first:] {
		h.attribute(&t.attributes[first+i])
	}
	t.services = append(t.services, ble.SeenService{Handle: s.Handle, Last: t.last(), Hash: h.sum()})
}

func (t *table) characteristic(c ble.Characteristic, end uint16) {
	if c.ValueHandle > end || c.ValueHandle < 2 || c.ValueHandle-1 <= t.last() {
		return
	}
	if c.UUID == ble.UUIDServiceChanged && t.changed == 0 {
		t.changed = c.ValueHandle
	}
	static := []byte{byte(c.Properties), byte(c.ValueHandle), byte(c.ValueHandle >> 8)}
	t.attributes = append(t.attributes,
		attribute{handle: c.ValueHandle - 1, uuid: typeDeclaration, static: append(static, wireUUID(c.UUID)...), value: c.ValueHandle},
		attribute{handle: c.ValueHandle, uuid: c.UUID, value: c.ValueHandle})
	for _, d := range sorted(c.Descriptors, func(d ble.Descriptor) uint16 { return d.Handle }) {
		if d.Handle > t.last() && d.Handle <= end && len(t.attributes) < ble.MaxAttributes {
			t.attributes = append(t.attributes, attribute{handle: d.Handle, uuid: d.UUID, value: c.ValueHandle, descriptor: true})
		}
	}
}

func sorted[T any](in []T, handle func(T) uint16) []T {
	out := slices.Clone(in)
	slices.SortStableFunc(out, func(a, b T) int { return int(handle(a)) - int(handle(b)) })
	return out
}

// at is the attribute with that handle, or nil.
func (t *table) at(handle uint16) *attribute {
	if i, ok := t.search(handle); ok {
		return &t.attributes[i]
	}
	return nil
}

func (t *table) search(handle uint16) (int, bool) {
	return slices.BinarySearchFunc(t.attributes, handle, func(a attribute, h uint16) int { return int(a.handle) - int(h) })
}

// within are the attributes from start to end, both included.
func (t *table) within(start, end uint16) []attribute {
	i, _ := t.search(start)
	j, found := t.search(end)
	if found {
		j++
	}
	return t.attributes[i:max(i, j)]
}
