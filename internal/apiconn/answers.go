package apiconn

import (
	"fmt"
	"slices"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// complete handles a positive answer. It belongs to the outstanding request if that waits for such an answer, else to a
// request that was given up or to a write without response.
func (o *ops) complete(a ble.Address, kind opKind, handle uint32, id apiwire.ID, data []byte) {
	o.mu.Lock()
	defer o.unlock()
	key := laneKey{a, kind, handle}
	l := o.lanes[key]
	if r := l.outstanding(); r != nil && r.want == id {
		r.data = data
		o.finish(l, r, nil)
		return
	}
	o.stray++
	switch {
	case l == nil:
		return
	case l.late == id && l.abandoned.After(time.Now()):
		l.abandoned = time.Time{}
	case id == apiwire.BluetoothGATTWriteResponse && len(l.acks) > 0:
		l.acked(1)
	}
	o.advance(key)
}

// refuse handles a message 82, which may answer any request of the lane.
func (o *ops) refuse(a ble.Address, kind opKind, handle uint32, err error) {
	o.mu.Lock()
	defer o.unlock()
	key := laneKey{a, kind, handle}
	l := o.lanes[key]
	if r := l.outstanding(); r != nil {
		o.finish(l, r, err)
		return
	}
	o.stray++
	switch {
	case l == nil:
		return
	case l.abandoned.After(time.Now()):
		l.abandoned = time.Time{}
	case len(l.acks) > 0:
		l.acked(1)
	}
	o.advance(key)
}

// answer completes a request of a kind that has an answer message of its own, and reports whether there was one.
func (o *ops) answer(a ble.Address, kind opKind, err error) bool {
	o.mu.Lock()
	defer o.unlock()
	key := laneKey{a, kind, 0}
	l := o.lanes[key]
	if r := l.outstanding(); r != nil {
		o.finish(l, r, err)
		return true
	}
	if l != nil && l.abandoned.After(time.Now()) {
		l.abandoned = time.Time{}
		o.advance(key)
		return true
	}
	return false
}

// connected handles message 69 with connected=true.
func (o *ops) connected(a ble.Address, mtu int) {
	o.mu.Lock()
	defer o.unlock()
	l := o.lanes[laneKey{a, opConnect, 0}]
	if r := l.outstanding(); r != nil {
		r.mtu = mtu
		o.finish(l, r, nil)
	}
}

// disconnected handles message 69 with connected=false: it ends everything that is under
// way with the peripheral.
//
// If held is true, the connection slot is still taken: firmware from 2025.8 to 2026.7 reports a second time when it
// frees the slot, and that report must not count for the next attempt, which waits for the slot.
func (o *ops) disconnected(a ble.Address, code int32, held bool) {
	o.mu.Lock()
	defer o.unlock()
	var hold time.Time
	if held {
		hold = time.Now().Add(slotHold)
		o.lane(laneKey{a, opConnect, 0})
	}
	for key, l := range o.lanes {
		if key.address != a {
			continue
		}
		if key.kind == opUnpair || key.kind == opClearCache {
			continue // these requests need no link: the proxy still answers them
		}
		l.acked(len(l.acks))
		l.abandoned = time.Time{}
		switch key.kind {
		case opConnect, opDisconnect:
			var err error
			if key.kind == opConnect {
				err = &ConnectFailedError{Address: a, Code: code}
				l.abandoned = hold
			}
			if r := l.outstanding(); r != nil {
				o.finish(l, r, err)
				continue
			}
		default:
			for _, r := range l.queue {
				o.end(r, ble.ErrNotConnected)
			}
			l.queue = nil
		}
		o.advance(key)
	}
}

// released ends the wait for attempts that were called off and whose slots are free now.
func (o *ops) released(allocated []ble.Address) {
	o.mu.Lock()
	defer o.unlock()
	for key, l := range o.lanes {
		if key.kind == opConnect && !l.abandoned.IsZero() && !slices.Contains(allocated, key.address) {
			l.abandoned = time.Time{}
			o.advance(key)
		}
	}
}

var errTooLarge = fmt.Errorf("the GATT database has more than %d services or %d attributes", ble.MaxServices, ble.MaxAttributes)

// addServices takes one message 71 of a stream.
func (o *ops) addServices(a ble.Address, services []*apipb.BluetoothGATTService) {
	o.mu.Lock()
	defer o.unlock()
	l := o.lanes[laneKey{a, opServices, 0}]
	r := l.outstanding()
	if r == nil {
		return
	}
	for _, m := range services {
		s, n := serviceFrom(m)
		r.attributes += n
		if r.attributes > ble.MaxAttributes || len(r.services) >= ble.MaxServices {
			o.finish(l, r, errTooLarge)
			return
		}
		r.services = append(r.services, s)
	}
}
