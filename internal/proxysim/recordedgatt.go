package proxysim

import (
	"slices"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/btsnoop"
)

// maxRecordedValues bounds the values that one characteristic notified.
const maxRecordedValues = 1024

// recordedLink is a link of a recording.
type recordedLink struct {
	device  *recordedDevice
	frames  [2][]byte // L2CAP, while it comes in parts; sent, received
	request []byte    // ATT, the last one
}

// recordedGATT is what dialogs show of a device's attributes.
type recordedGATT struct {
	services map[uint16]ServiceSpec
	chars    map[uint16]CharSpec // by the handle of the value
	descs    map[uint16]ble.UUID
	values   map[uint16][]byte
	reading  uint16 // a value of which more may come
	reads    map[uint16]byte
	writes   map[uint16]byte
	notified map[uint16]*recordedNotifications
}

type recordedNotifications struct {
	values      []HexBytes
	first, last time.Time
}

func newRecordedGATT() recordedGATT {
	return recordedGATT{
		services: map[uint16]ServiceSpec{}, chars: map[uint16]CharSpec{}, descs: map[uint16]ble.UUID{}, values: map[uint16][]byte{},
		reads: map[uint16]byte{}, writes: map[uint16]byte{}, notified: map[uint16]*recordedNotifications{},
	}
}

// acl puts the parts of a frame together.
func (rec *recording) acl(r btsnoop.Record) {
	if len(r.Data) < 4 {
		return
	}
	l := rec.links[recordedHandle{r.Index, le16(r.Data) & 0x0fff}]
	if l == nil {
		return
	}
	way := 0
	if r.Op == btsnoop.ACLRX {
		way = 1
	}
	if r.Data[1]>>4&3 == 1 { // it goes on
		if l.frames[way] == nil {
			return
		}
		l.frames[way] = append(l.frames[way], r.Data[4:]...)
	} else {
		l.frames[way] = slices.Clone(r.Data[4:])
	}
	f := l.frames[way]
	if len(f) < 4 || len(f) < 4+int(le16(f)) {
		return
	}
	l.frames[way] = nil
	pdu := f[4 : 4+int(le16(f))]
	const channelATT = 4
	if le16(f[2:]) != channelATT || len(pdu) == 0 {
		return
	}
	if way == 0 {
		if pdu[0] != ble.ATTOpConfirmation && pdu[0]&ble.ATTCommand == 0 { // neither a confirmation nor a command
			l.request = pdu
		}
		return
	}
	l.received(r.Time, pdu)
}

// received takes what the device sent.
func (l *recordedLink) received(at time.Time, pdu []byte) {
	g, q := &l.device.gatt, l.request
	op := pdu[0]
	switch {
	case (op == ble.ATTOpNotification || op == ble.ATTOpIndication) && len(pdu) >= 3:
		g.notify(at, le16(pdu[1:]), pdu[3:])
	case op == ble.ATTOpMTUResponse && len(pdu) >= 3 && len(q) >= 3:
		l.device.mtu = max(ble.MinMTU, min(le16(pdu[1:]), ble.MaxMTU))
	case op == ble.ATTOpError && len(pdu) >= 5 && len(q) >= 3 && q[0] == pdu[1]:
		g.refused(q[0], le16(q[1:]), pdu[4])
	case len(q) == 0 || op != q[0]+1:
	case q[0] == ble.ATTOpReadByGroupType && len(q) == 7 && le16(q[5:]) == 0x2800:
		entries(pdu, 4, func(e []byte) {
			h := le16(e)
			g.services[h] = ServiceSpec{Handle: h, EndHandle: le16(e[2:]), UUID: ble.UUIDFromAir(e[4:])}
		})
	case q[0] == ble.ATTOpReadByType && len(q) == 7 && le16(q[5:]) == 0x2803:
		entries(pdu, 5, func(e []byte) {
			v := le16(e[3:])
			g.chars[v] = CharSpec{Handle: le16(e), ValueHandle: v, Properties: nameProperties(ble.Properties(e[2])), UUID: ble.UUIDFromAir(e[5:])}
		})
	case q[0] == ble.ATTOpFindInformation && len(pdu) >= 2:
		size := 2
		if pdu[1] == 2 {
			size = 16
		}
		for e := pdu[2:]; len(e) >= 2+size; e = e[2+size:] {
			g.descs[le16(e)] = ble.UUIDFromAir(e[2 : 2+size])
		}
	case q[0] == ble.ATTOpRead && len(q) >= 3:
		g.read(le16(q[1:]), 0, pdu[1:])
	case q[0] == ble.ATTOpReadBlob && len(q) >= 5:
		g.read(le16(q[1:]), int(le16(q[3:])), pdu[1:])
	}
}

// entries walks a list of entries of one size, which is longer than min.
func entries(pdu []byte, min int, f func(e []byte)) {
	if len(pdu) < 2 {
		return
	}
	size := int(pdu[1])
	if size != min+2 && size != min+16 {
		return
	}
	for e := pdu[2:]; len(e) >= size; e = e[size:] {
		f(e[:size])
	}
}

func nameProperties(p ble.Properties) (names []string) {
	for name, bit := range propertyNames {
		if p.Has(bit) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// read takes a value, or more of it. The first that was read counts: later ones may be what the host wrote.
func (g *recordedGATT) read(handle uint16, offset int, part []byte) {
	_, known := g.values[handle]
	switch {
	case offset == 0 && known:
		g.reading = 0
	case offset == 0:
		g.values[handle], g.reading = slices.Clone(part), handle
	case g.reading == handle && offset == len(g.values[handle]) && offset+len(part) <= ble.MaxAttribute:
		g.values[handle] = append(g.values[handle], part...)
	}
}

func (g *recordedGATT) refused(op byte, handle uint16, code byte) {
	switch op {
	case ble.ATTOpRead:
		g.reads[handle] = code
	case ble.ATTOpWrite:
		g.writes[handle] = code
	}
}

func (g *recordedGATT) notify(at time.Time, handle uint16, value []byte) {
	n := g.notified[handle]
	if n == nil {
		n = &recordedNotifications{first: at}
		g.notified[handle] = n
	}
	if len(n.values) < maxRecordedValues {
		n.values, n.last = append(n.values, slices.Clone(value)), at
	}
}

// spec lays out the database. Attributes outside of every service are left out.
func (g *recordedGATT) spec() GATTSpec {
	var out GATTSpec
	for _, s := range g.services {
		out.Services = append(out.Services, s)
	}
	byHandle(out.Services, func(s *ServiceSpec) uint16 { return s.Handle })
	for i := range out.Services {
		s := &out.Services[i]
		end := s.EndHandle
		if i+1 < len(out.Services) {
			end = min(end, out.Services[i+1].Handle-1)
		}
		g.fill(s, end)
	}
	return out
}

// fill adds a service's characteristics, and gives it the last handle that it uses.
func (g *recordedGATT) fill(s *ServiceSpec, end uint16) {
	for v, c := range g.chars {
		if c.Handle > s.Handle && c.Handle < v && v <= end {
			s.Characteristics = append(s.Characteristics, c)
		}
	}
	byHandle(s.Characteristics, func(c *CharSpec) uint16 { return c.Handle })
	last := s.Handle
	for j := range s.Characteristics {
		c := &s.Characteristics[j]
		to := end
		if j+1 < len(s.Characteristics) {
			to = s.Characteristics[j+1].Handle - 1
		}
		g.describe(c, to)
		last = c.ValueHandle
		if n := len(c.Descriptors); n > 0 {
			last = c.Descriptors[n-1].Handle
		}
	}
	s.EndHandle = max(last, min(end, 0xfffe))
	if end == 0xffff {
		s.EndHandle = last
	}
}

// describe adds what is known of a characteristic, whose descriptors are up to the handle to.
func (g *recordedGATT) describe(c *CharSpec, to uint16) {
	v := c.ValueHandle
	c.Value = g.values[v]
	code, refused := g.reads[v]
	switch {
	case !refused || c.Value != nil && !wantsEncryption(code):
	case wantsEncryption(code):
		c.Security = "encryption"
	default:
		c.ReadError = code
	}
	if code, refused := g.writes[v]; refused && !wantsEncryption(code) {
		c.WriteError = code
	}
	for h, u := range g.descs {
		if h > v && h <= to {
			d := DescSpec{Handle: h, UUID: u, Value: g.values[h]}
			if u == ble.UUIDCCCD {
				d.Value = HexBytes{0, 0}
			}
			c.Descriptors = append(c.Descriptors, d)
		}
	}
	byHandle(c.Descriptors, func(d *DescSpec) uint16 { return d.Handle })
	if n := g.notified[v]; n != nil && len(n.values) > 1 {
		c.NotifyValues, c.NotifyEveryMS = n.values, milliseconds(n.last.Sub(n.first), len(n.values)-1)
	}
}

func wantsEncryption(code byte) bool {
	return code == byte(ble.ATTAuthentication) || code == byte(ble.ATTEncryption)
}
