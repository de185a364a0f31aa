package capture

import (
	"encoding/binary"
	"errors"

	"bluez-esphome/internal/ble"
)

// Opcodes of ATT (Bluetooth Core, Vol 3 Part F, 3.4). The response to a request has the next opcode.
const (
	opError        = 0x01
	opMTU          = 0x02
	opRead         = 0x0a
	opReadBlob     = 0x0c
	opWrite        = 0x12
	opWriteCommand = 0x52
	opPrepare      = 0x16
	opExecute      = 0x18
	opNotification = 0x1b
	opIndication   = 0x1d
	opConfirmation = 0x1e
)

// A proxy reads and writes whole values. What it does on the air for it is written here: long values go in parts, of
// which each answer but the last is full (Bluetooth Core, Vol 3 Part G, 4.8.3 and 4.9.4).

// handled is a PDU that begins with an opcode and a handle.
func handled(op byte, handle uint16, rest ...byte) []byte {
	return append(binary.LittleEndian.AppendUint16([]byte{op}, handle), rest...)
}

// long reports whether a write goes in parts.
func (l *link) long(op ble.Operation) bool { return len(op.Value) > l.size-3 }

// first is the PDU with which an operation begins.
func (l *link) first(op ble.Operation) []byte {
	switch {
	case op.Kind.Reads():
		return handled(opRead, op.Handle)
	case op.Kind == ble.OpWriteCommand:
		return handled(opWriteCommand, op.Handle, op.Value...)
	case l.long(op):
		return handled(opPrepare, op.Handle, append([]byte{0, 0}, op.Value[:l.size-5]...)...)
	}
	return handled(opWrite, op.Handle, op.Value...)
}

// asked: an operation was handed to the proxy.
func (t *Tap) asked(id string, a ble.Address, op ble.Operation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.upLocked(id, a)
	if l == nil {
		return
	}
	if op.Kind == ble.OpWriteDescriptor && len(op.Value) > 0 && len(l.cccds) < ble.MaxAttributes {
		l.cccds[op.Handle] = op.Value[0]
	}
	t.eachLocked(l, func(r *reader) { r.att(l, false, l.first(op)) })
}

// answered: it ended.
func (t *Tap) answered(id string, a ble.Address, op ble.Operation, value []byte, err error) {
	if !t.active.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.upLocked(id, a)
	if l == nil {
		return
	}
	var code ble.ATTError
	t.eachLocked(l, func(r *reader) {
		switch {
		case errors.As(err, &code):
			r.att(l, true, append(handled(opError, uint16(l.first(op)[0])|op.Handle<<8), byte(op.Handle>>8), byte(code)))
		case err != nil:
			r.log(l, op.Kind.String()+" of a handle was not answered: "+err.Error())
		case op.Kind.Reads():
			r.readValue(l, op.Handle, value)
		case op.Kind == ble.OpWriteCommand:
		case l.long(op):
			r.wroteLong(l, op)
		default:
			r.att(l, true, []byte{opWrite + 1})
		}
	})
}

// readValue writes the answer to a read, and the parts of a long one.
func (r *reader) readValue(l *link, handle uint16, value []byte) {
	full := l.size - 1
	n := min(len(value), full)
	r.att(l, true, append([]byte{opRead + 1}, value[:n]...))
	for offset := n; n == full; offset += n {
		n = min(len(value)-offset, full)
		r.att(l, false, handled(opReadBlob, handle, byte(offset), byte(offset>>8)))
		r.att(l, true, append([]byte{opReadBlob + 1}, value[offset:offset+n]...))
	}
}

// wroteLong writes what follows the first part of a long write.
func (r *reader) wroteLong(l *link, op ble.Operation) {
	part := l.size - 5
	for offset := 0; offset < len(op.Value); offset += part {
		pdu := handled(opPrepare, op.Handle, byte(offset), byte(offset>>8))
		pdu = append(pdu, op.Value[offset:min(offset+part, len(op.Value))]...)
		if offset > 0 { // the first was written when it was asked for
			r.att(l, false, pdu)
		}
		pdu[0]++
		r.att(l, true, pdu)
	}
	r.att(l, false, []byte{opExecute, 1})
	r.att(l, true, []byte{opExecute + 1})
}

// Notification is what a proxy passes on (ESPHome native API, message 79). It does not say whether it was an
// indication: that is what the characteristic's configuration asked for.
func (t *Tap) Notification(id string, a ble.Address, handle uint16, value []byte) {
	if !t.active.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.upLocked(id, a)
	if l == nil {
		return
	}
	op := byte(opNotification)
	if l.indicates(handle) {
		op = opIndication
	}
	t.eachLocked(l, func(r *reader) {
		r.att(l, true, handled(op, handle, value...))
		if op == opIndication {
			r.att(l, false, []byte{opConfirmation})
		}
	})
}

func (l *link) indicates(valueHandle uint16) bool {
	if l.db == nil {
		return false
	}
	for i := range l.db.Services {
		for j := range l.db.Services[i].Characteristics {
			c := &l.db.Services[i].Characteristics[j]
			if c.ValueHandle != valueHandle {
				continue
			}
			if bits, written := l.cccds[c.CCCD()]; written {
				return bits&3 == 2
			}
			return c.Properties.Has(ble.PropIndicate) && !c.Properties.Has(ble.PropNotify)
		}
	}
	return false
}
