package bluezshim

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

// maxShared bounds how many calls wait for one and the same thing.
const maxShared = 1024

// A pendingRead is one ReadValue call that waits for the read that is out.
type pendingRead struct {
	call   *dbusobj.Call
	offset int
}

// sharedRead is the ReadValue calls of one attribute that wait for the same read.
type sharedRead struct{ calls []pendingRead }

// join makes call one of those that wait, if its offset is theirs, and the first starts the read; cache keeps and
// signals the value, even if unchanged, before the replies (bluetoothd 5.87).
func (r *sharedRead) join(p *peer, call *dbusobj.Call, start func(done func([]byte, error)), cache func([]byte)) {
	offset, _, err := parseOptions(call.Body[0])
	switch {
	case err != nil:
		errInvalidArguments.to(call)
	case !p.connected:
		errDisconnected.to(call)
	case len(r.calls) > 0 && r.calls[0].offset != offset, len(r.calls) >= maxShared:
		errInProgress.to(call)
	default:
		r.calls = append(r.calls, pendingRead{call, offset})
		if len(r.calls) > 1 {
			return
		}
		start(func(v []byte, err error) {
			p.shim.post(func() {
				calls := r.calls
				r.calls = nil
				replyReads(calls, v, err, p.mtu, cache)
				p.afterError(err)
			})
		})
	}
}

// readValue is GattCharacteristic1.ReadValue.
func (c *char) readValue(call *dbusobj.Call) {
	p := c.peer()
	c.read.join(p, call, func(done func([]byte, error)) {
		c.links().Do(p.addr, ble.Operation{Kind: ble.OpRead, Table: p.db, Handle: c.def.ValueHandle}, done)
	}, c.setValue)
}

// replyReads answers all calls that shared a read; cache keeps and signals the value first.
func replyReads(reads []pendingRead, v []byte, err error, mtu int, cache func([]byte)) {
	var failed *dbusError
	if err != nil {
		e := operationError(err)
		failed = &e
	} else {
		v, failed = fromOffset(v, reads[0].offset, mtu)
	}
	if failed != nil {
		for _, r := range reads {
			failed.to(r.call)
		}
		return
	}
	cache(v)
	for _, r := range reads {
		r.call.Reply(func(enc *dbusobj.Encoder) { enc.Bytes(v) })
	}
}

// fromOffset gives what a Read Blob at offset gives. The native API always reads the whole value, so the
// peripheral's answer is imitated: beyond the end Invalid Offset, within a value that fits one PDU
// Attribute Not Long (Bluetooth Core, Vol 3 Part F, 3.4.4.5).
func fromOffset(v []byte, offset, mtu int) ([]byte, *dbusError) {
	switch {
	case offset == 0:
		return v, nil
	case offset > len(v):
		return nil, &errInvalidOffset
	case len(v) <= mtu-1:
		e := attError(ble.ATTAttributeNotLong)
		return nil, &e
	}
	return v[offset:], nil
}
