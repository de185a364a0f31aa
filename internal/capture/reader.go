package capture

import (
	"slices"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/btsnoop"
)

// Want says what a capture is to have.
type Want struct {
	Devices   []ble.Address `json:"devices,omitempty"` // only these; none: all
	Proxies   []string      `json:"proxies,omitempty"` // only these, by name; none: all
	NoAdverts bool          `json:"no_adverts,omitempty"`
	// Redact has addresses replaced, in packets and in the values in which they stand.
	Redact bool `json:"redact,omitempty"`
}

// maxWaiting bounds what waits for one reader, in bytes: some seconds of a busy building.
const maxWaiting = 4 << 20

// reader is one capture. Its fields are under Tap.mu, which its methods are called with.
type reader struct {
	want    Want
	hidden  *redactor // nil: nothing is redacted
	buf     []byte
	drops   uint32
	wake    chan struct{} // size 1: there may be something in buf
	scratch []byte
}

func newReader(want Want) *reader {
	r := &reader{want: want, wake: make(chan struct{}, 1), buf: btsnoop.Header()}
	if want.Redact {
		r.hidden = newRedactor()
	}
	return r
}

// wants reports whether something of a proxy and a device is to be there. Address 0 is no device in particular.
func (r *reader) wants(p *proxy, a ble.Address) bool {
	return (len(r.want.Proxies) == 0 || slices.Contains(r.want.Proxies, p.name)) &&
		(a == 0 || len(r.want.Devices) == 0 || slices.Contains(r.want.Devices, a))
}

func (r *reader) put(p *proxy, op btsnoop.Opcode, data []byte) { r.putAt(time.Now(), p, op, data) }

// putAt adds a record, or counts one that is lost.
func (r *reader) putAt(at time.Time, p *proxy, op btsnoop.Opcode, data []byte) {
	if len(r.buf) >= maxWaiting {
		r.drops++
		return
	}
	r.buf = btsnoop.Append(r.buf, btsnoop.Record{Time: at, Index: p.index, Op: op, Drops: r.drops, Data: data})
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// address is how an address is shown.
func (r *reader) address(a ble.Address) ble.Address {
	if r.hidden == nil || a == 0 {
		return a
	}
	return r.hidden.of(a).address
}

// payload is how a value of a device is shown.
func (r *reader) payload(a ble.Address, b []byte) []byte {
	if r.hidden == nil {
		return b
	}
	return r.hidden.of(a).hide(b)
}

func (r *reader) text(a ble.Address, s string) string { return string(r.payload(a, []byte(s))) }

// take gives what waits, and takes spare for what comes.
func (t *Tap) take(r *reader, spare []byte) (data []byte, drops uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	data, r.buf = r.buf, spare[:0]
	return data, r.drops
}
