package gatt

import "slices"

// Bounds of what one party may have waiting for one device: 1 MiB in commands of 20 bytes fits.
const (
	maxQueued      = 65536
	maxQueuedBytes = 8 << 20
)

// lanes are the operations that wait for one link: a lane for each party, first in, first out. The party that was
// served longest ago goes next, so that whoever has one operation waits for one operation of each other party at most,
// however many those have. Its methods are called with Manager.mu held.
type lanes struct {
	waiting []*lane
	served  map[*Owner]uint64 // when a party was served last, in turns; nil is the Manager itself
	turn    uint64
	head    *op // goes before all others: it was begun and is to be gone on with
}

// lane is what one party waits for; it is never empty.
type lane struct {
	party *Owner
	ops   []*op
	bytes int
}

func (q *lanes) empty() bool { return q.head == nil && len(q.waiting) == 0 }

// push adds o behind what its party waits for. It reports false if that is too much.
func (q *lanes) push(o *op) bool {
	i := slices.IndexFunc(q.waiting, func(l *lane) bool { return l.party == o.party })
	if i < 0 {
		if o.size > maxQueuedBytes {
			return false
		}
		q.waiting = append(q.waiting, &lane{party: o.party, ops: []*op{o}, bytes: o.size})
		return true
	}
	l := q.waiting[i]
	if len(l.ops) >= maxQueued || l.bytes+o.size > maxQueuedBytes {
		return false
	}
	l.ops = append(l.ops, o)
	l.bytes += o.size
	return true
}

// pop takes the operation whose turn it is, nil if there is none.
func (q *lanes) pop() *op {
	if o := q.head; o != nil {
		q.head = nil
		return o
	}
	if len(q.waiting) == 0 {
		return nil
	}
	i := 0
	for j := range q.waiting[1:] {
		if q.served[q.waiting[j+1].party] < q.served[q.waiting[i].party] {
			i = j + 1
		}
	}
	l := q.waiting[i]
	o := l.ops[0]
	l.ops[0] = nil
	l.ops, l.bytes = l.ops[1:], l.bytes-o.size
	if len(l.ops) == 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	q.serve(o.party)
	return o
}

// maxServed bounds the parties whose last turn is remembered; hosts come and go during one link.
const maxServed = 256

// serve notes that an operation of the party begins.
func (q *lanes) serve(party *Owner) {
	if q.served == nil || len(q.served) >= maxServed {
		q.served = make(map[*Owner]uint64)
	}
	q.turn++
	q.served[party] = q.turn
}

// take takes out those of the operations that which chooses, in the order in which each party asked for them.
func (q *lanes) take(which func(*op) bool) []*op {
	var out []*op
	if q.head != nil && which(q.head) {
		out, q.head = append(out, q.head), nil
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(l *lane) bool {
		l.ops = slices.DeleteFunc(l.ops, func(o *op) bool {
			if !which(o) {
				return false
			}
			l.bytes -= o.size
			out = append(out, o)
			return true
		})
		return len(l.ops) == 0
	})
	return out
}
