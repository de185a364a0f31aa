package stream

import "bluez-esphome/internal/ble"

// inlinePayload is how long a payload may be that is kept in its record itself; what proxies send has at most 62 bytes.
const inlinePayload = 64

// record is one message that is still to be encoded: an advertisement and when it was heard.
type record struct {
	at   int64 // milliseconds since 1970
	addr ble.Address
	typ  ble.AddressType
	rssi int8
	n    uint8 // bytes in short
	// short is the payload, or long is, where that does not fit.
	short [inlinePayload]byte
	long  []byte
}

func (r *record) set(at int64, a *ble.RawAdvert) {
	r.at, r.addr, r.typ, r.rssi = at, a.Address, a.Type, a.RSSI
	r.n, r.long = 0, nil
	if len(a.Data) > inlinePayload {
		r.long = append([]byte(nil), a.Data...)
		return
	}
	r.n = uint8(copy(r.short[:], a.Data))
}

func (r *record) payload() []byte {
	if r.long != nil {
		return r.long
	}
	return r.short[:r.n]
}

// queue is a ring of records that grows to its limit. What does not fit pushes out the oldest.
type queue struct {
	ring  []record
	first int // the oldest
	n     int
	limit int
}

// initialQueue is how many records have room at first: about a second of a house.
const initialQueue = 64

// push adds a record at the end and reports whether the oldest had to make room.
func (q *queue) push() (r *record, dropped bool) {
	if q.n == q.limit {
		q.ring[q.first].long = nil
		q.first = (q.first + 1) % len(q.ring)
		q.n--
		dropped = true
	} else if q.n == len(q.ring) {
		q.grow()
	}
	r = &q.ring[(q.first+q.n)%len(q.ring)]
	q.n++
	return r, dropped
}

// unpush puts a record back before the oldest, unless there is no room.
func (q *queue) unpush(r *record) bool {
	if q.n == q.limit {
		return false
	}
	if q.n == len(q.ring) {
		q.grow()
	}
	q.first = (q.first + len(q.ring) - 1) % len(q.ring)
	q.ring[q.first] = *r
	q.n++
	return true
}

func (q *queue) grow() {
	bigger := make([]record, min(max(2*len(q.ring), initialQueue), q.limit))
	for i := range q.n {
		bigger[i] = q.ring[(q.first+i)%len(q.ring)]
	}
	q.ring, q.first = bigger, 0
}

// take moves the oldest records to out, at most its capacity.
func (q *queue) take(out []record) []record {
	out = out[:0]
	for q.n > 0 && len(out) < cap(out) {
		out = append(out, q.ring[q.first])
		q.ring[q.first].long = nil
		q.first = (q.first + 1) % len(q.ring)
		q.n--
	}
	if q.n == 0 && len(q.ring) > shrinkQueue { // the broker was away: the memory is not needed again soon
		q.ring, q.first = nil, 0
	}
	return out
}

// shrinkQueue is how many records an empty queue keeps room for.
const shrinkQueue = 4096
