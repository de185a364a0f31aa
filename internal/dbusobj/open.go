package dbusobj

import (
	"time"

	"github.com/godbus/dbus/v5"
)

// How many calls may wait for their answers: a client's own are bounded far above what a program needs (the system bus
// lets one have 128; on another bus a program may pipeline the 10,000 writes of a firmware), all clients' by the memory
// that they take.
const (
	maxOpenCalls    = 16384
	maxAllOpenCalls = 32768
	fewOpenCalls    = 16 // of a client that is served even when all together have too many
)

const tooManyCalls = "Too many calls are waiting for an answer"

// openCalls counts the calls that are not answered yet. It belongs to the loop.
type openCalls struct {
	of  map[string]openOf
	all int
}

// openOf is the calls of one client, since it last had none open.
type openOf struct {
	open  int
	begun uint64
}

// begin counts a call, which [openCalls.end] has to be called for in any case. It gives the call's number, and false if
// that is above the quota.
func (o *openCalls) begin(sender string) (number uint64, ok bool) {
	if o.of == nil {
		o.of = make(map[string]openOf)
	}
	n := o.of[sender]
	n.open++
	n.begun++
	o.of[sender] = n
	o.all++
	return n.begun, n.open <= maxOpenCalls && (o.all <= maxAllOpenCalls || n.open <= fewOpenCalls)
}

func (o *openCalls) end(sender string) {
	o.all--
	n := o.of[sender]
	n.open--
	if n.open <= 0 {
		delete(o.of, sender)
		return
	}
	o.of[sender] = n
}

// warnEvery keeps the log from being flooded by clients that are refused again and again.
const warnEvery = 10 * time.Second

// refuse answers a call of a client that has too much waiting already. It works past the loop.
func (c *Conn) refuse(w *wire, m *message, first bool) {
	m.close()
	if now := time.Now(); first && (w.warned.IsZero() || now.Sub(w.warned) >= warnEvery) {
		w.warned = now
		c.log.Warn("A client sends more than can be handled; what is too much is refused", "client", m.sender)
	}
	if m.typ != dbus.TypeMethodCall || m.flags&flagNoReply != 0 || w.out.holds(maxRefusals) {
		return // with a bus that is that far behind, the client hears nothing anyway
	}
	body, _, err := Marshal("s", func(e *Encoder) { e.String(tooManyCalls) })
	if err != nil {
		return
	}
	w.out.send(&outgoing{
		typ: dbus.TypeError, flags: flagNoReply, serial: c.nextSerial(), reply: m.serial, dest: m.sender, errName: errLimits, sig: "s",
	}, body, nil)
}
