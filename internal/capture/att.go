package capture

import (
	"encoding/binary"
	"errors"

	"bluez-esphome/internal/ble"
)

// A proxy reads and writes whole values. What it does on the air for it is written here: long values go in parts, of
// which each answer but the last is full (Bluetooth Core, Vol 3 Part G, 4.8.3 and 4.9.4).

// handled is a PDU that begins with an opcode and a handle.
func handled(op byte, handle uint16, rest ...byte) []byte {
	return append(binary.LittleEndian.AppendUint16([]byte{op}, handle), rest...)
}

// long reports whether a write goes in parts.
func (l *link) long(op ble.Operation) bool { return len(op.Value) > l.size-3 }

// opcode is that of the PDU with which an operation begins.
func (l *link) opcode(op ble.Operation) byte {
	switch {
	case op.Kind.Reads():
		return ble.ATTOpRead
	case op.Kind == ble.OpWriteCommand:
		return ble.ATTOpWriteCommand
	case l.long(op):
		return ble.ATTOpPrepareWrite
	}
	return ble.ATTOpWrite
}

// first is the PDU with which an operation begins.
func (l *link) first(op ble.Operation) []byte {
	switch code := l.opcode(op); code {
	case ble.ATTOpRead:
		return handled(code, op.Handle)
	case ble.ATTOpPrepareWrite:
		return handled(code, op.Handle, append([]byte{0, 0}, op.Value[:l.size-5]...)...)
	default:
		return handled(code, op.Handle, op.Value...)
	}
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
	t.note(id, a, func(r *reader, l *link) {
		var code ble.ATTError
		switch {
		case errors.As(err, &code):
			r.att(l, true, []byte{ble.ATTOpError, l.opcode(op), byte(op.Handle), byte(op.Handle >> 8), byte(code)})
		case err != nil:
			r.log(l, op.Kind.String()+" of a handle was not answered: "+err.Error())
		case op.Kind.Reads():
			r.readValue(l, op.Handle, value)
		case op.Kind == ble.OpWriteCommand:
		case l.long(op):
			r.wroteLong(l, op)
		default:
			r.att(l, true, []byte{ble.ATTOpWrite + 1})
		}
	})
}

// readValue writes the answer to a read, and the parts of a long one.
func (r *reader) readValue(l *link, handle uint16, value []byte) {
	full := l.size - 1
	n := min(len(value), full)
	r.att(l, true, append([]byte{ble.ATTOpRead + 1}, value[:n]...))
	for offset := n; n == full; offset += n {
		n = min(len(value)-offset, full)
		r.att(l, false, handled(ble.ATTOpReadBlob, handle, byte(offset), byte(offset>>8)))
		r.att(l, true, append([]byte{ble.ATTOpReadBlob + 1}, value[offset:offset+n]...))
	}
}

// wroteLong writes what follows the first part of a long write.
func (r *reader) wroteLong(l *link, op ble.Operation) {
	part := l.size - 5
	for offset := 0; offset < len(op.Value); offset += part {
		pdu := handled(ble.ATTOpPrepareWrite, op.Handle, byte(offset), byte(offset>>8))
		pdu = append(pdu, op.Value[offset:min(offset+part, len(op.Value))]...)
		if offset > 0 { // the first was written when it was asked for
			r.att(l, false, pdu)
		}
		pdu[0]++
		r.att(l, true, pdu)
	}
	r.att(l, false, []byte{ble.ATTOpExecuteWrite, 1})
	r.att(l, true, []byte{ble.ATTOpExecuteWrite + 1})
}

// Notification is what a proxy passes on (ESPHome native API, message 79). It does not say whether it was an
// indication: that is what the characteristic's configuration asked for.
func (t *Tap) Notification(id string, a ble.Address, handle uint16, value []byte) {
	if !t.active.Load() {
		return
	}
	t.note(id, a, func(r *reader, l *link) {
		if !l.indicates(handle) {
			r.att(l, true, handled(ble.ATTOpNotification, handle, value...))
			return
		}
		r.att(l, true, handled(ble.ATTOpIndication, handle, value...))
		r.att(l, false, []byte{ble.ATTOpConfirmation})
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
