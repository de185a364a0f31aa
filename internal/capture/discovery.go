package capture

import (
	"encoding/binary"
	"log/slog"
	"time"

	"bluez-esphome/internal/att"
	"bluez-esphome/internal/ble"
)

// Types of declarations (Bluetooth Core, Vol 3 Part G, 3.4).
const (
	typePrimary        = 0x2800
	typeCharacteristic = 0x2803
)

// Resolved tells of a link's database and MTU, also where the database was known from before and was not asked for on
// the air: without it nobody could tell the handles apart.
func (t *Tap) Resolved(a ble.Address, db *ble.Database, mtu int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.proxies {
		if l := p.links[a]; l != nil && l.up {
			l.db = db
			t.upgradeLocked(l, mtu)
			t.eachLocked(l, func(r *reader) { r.discovered(l) })
		}
	}
}

// mtu writes an exchange of the MTU, of which only the outcome is known.
func (r *reader) mtu(l *link) {
	if l.size == ble.MinMTU {
		return
	}
	r.att(l, false, handled(ble.ATTOpMTURequest, uint16(l.size)))
	r.att(l, true, handled(ble.ATTOpMTURequest+1, uint16(l.size)))
}

// A dialog asks an att.Server as a client does.
type dialog struct {
	server *att.Server
	r      *reader
	l      *link
	answer []byte
}

// discovered writes the discovery of a link's database.
func (r *reader) discovered(l *link) {
	if l.db == nil {
		return
	}
	d := &dialog{r: r, l: l}
	d.server = att.New(att.Config{
		Peer: l.addr, Send: func(pdu []byte) { d.answer = pdu }, Log: slog.New(slog.DiscardHandler),
		Do:    func(ble.Operation, func([]byte, error)) {},
		After: func(time.Duration, func()) func() { return func() {} },
		End:   func(byte) {}, SetSeen: func(att.Seen) {},
	})
	d.server.Resolved(l.db, l.size)
	if l.size > ble.MinMTU {
		d.server.Receive(handled(ble.ATTOpMTURequest, uint16(l.size)), func() {})
	}
	d.list(ble.ATTOpReadByGroupType, typePrimary, func(entry []byte) uint16 { return binary.LittleEndian.Uint16(entry[2:]) })
	d.list(ble.ATTOpReadByType, typeCharacteristic, func(entry []byte) uint16 { return binary.LittleEndian.Uint16(entry) })
	for i := range l.db.Services {
		for j := range l.db.Services[i].Characteristics {
			d.descriptors(&l.db.Services[i].Characteristics[j])
		}
	}
}

// ask writes a request and its answer, which it returns; nil is an error.
func (d *dialog) ask(pdu []byte) []byte {
	d.answer = nil
	d.server.Receive(pdu, func() {})
	if d.answer == nil { // it would ask the peripheral: no request of discovery does
		return nil
	}
	d.r.att(d.l, false, pdu)
	d.r.att(d.l, true, d.answer)
	if d.answer[0] != pdu[0]+1 {
		return nil
	}
	return d.answer
}

// list asks for declarations until there are no more. last is the last handle of an entry of the answers.
func (d *dialog) list(op byte, typ uint16, last func(entry []byte) uint16) {
	for start := uint16(1); ; {
		answer := d.ask(handled(op, start, 0xff, 0xff, byte(typ), byte(typ>>8)))
		if len(answer) < 2 || answer[1] < 4 || len(answer) < 2+int(answer[1]) {
			return
		}
		end := last(answer[len(answer)-int(answer[1]):])
		if end == 0xffff || end < start {
			return
		}
		start = end + 1
	}
}

// descriptors asks for the descriptors of a characteristic.
func (d *dialog) descriptors(c *ble.Characteristic) {
	if len(c.Descriptors) == 0 {
		return
	}
	end := c.Descriptors[len(c.Descriptors)-1].Handle
	for start := c.Descriptors[0].Handle; start <= end; start++ {
		answer := d.ask(handled(ble.ATTOpFindInformation, start, byte(end), byte(end>>8)))
		size := 4
		if len(answer) > 1 && answer[1] == 2 {
			size = 18
		}
		if len(answer) < 2+size {
			return
		}
		start = max(start, binary.LittleEndian.Uint16(answer[len(answer)-size:]))
		if start == 0xffff {
			return
		}
	}
}
