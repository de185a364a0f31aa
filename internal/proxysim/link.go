package proxysim

import (
	"slices"
	"time"

	"bluez-esphome/internal/ble"
)

const (
	// attRoundTrip is how long an ATT request takes: about one connection interval each way.
	attRoundTrip = 15 * time.Millisecond
	// attCommand is how long a write command takes; several fit into one connection event.
	attCommand = 2 * time.Millisecond
	// maxLinkQueue bounds the requests that wait on one link.
	maxLinkQueue = 256
	// defaultMTU is the MTU before an exchange (Bluetooth Core, Vol 3 Part G, 5.2.1).
	defaultMTU = 23
	// attHeader is what an MTU holds besides a notified or written value.
	attHeader = 3
	// localMTU is what an ESP32 offers.
	localMTU = ble.MaxMTU
)

// Bits of a CCCD (Bluetooth Core, Vol 3 Part G, 3.3.3.3).
const (
	cccdNotify   = 1
	cccdIndicate = 2
)

// linkHost is the central's side of a link.
type linkHost interface {
	// notified hands over a notification or an indication.
	notified(handle uint16, value []byte)
	// lost says that the link ended by itself, with an HCI reason.
	lost(reason int32)
	// securityRequested says that the peripheral wants the link encrypted.
	securityRequested()
}

// link is one connection between a proxy and a peripheral. It belongs to the Air's mutex.
type link struct {
	air       *Air
	p         *peripheral
	host      linkHost
	proxy     string // the central's identity, which bonds are kept under
	proxyName string
	mtu       uint16
	encrypted bool
	cccd      map[uint16]uint16
	queue     []attRequest // the first is on the air
	running   *event
	timed     []*event
	closed    bool
}

// attRequest is one request: do runs when the peripheral has it and the answer would be back, and calls finish when there is an answer. It
// does not run once the link is gone.
type attRequest struct {
	takes time.Duration
	do    func(finish func())
}

// connect makes a link to p, which stops advertising.
func (a *Air) connect(p *peripheral, host linkHost, proxy, name string, bonded bool) *link {
	l := &link{
		air: a, p: p, host: host, proxy: proxy, proxyName: name, cccd: map[uint16]uint16{},
		mtu: max(defaultMTU, min(localMTU, p.spec.MTU)),
	}
	p.link = l
	p.stopAdvertising()
	if b := p.bonds[proxy]; bonded && b != nil {
		l.encrypted = true
		for h, v := range b.cccd {
			l.cccd[h] = v
		}
	}
	for i, t := range p.table.timed {
		l.timed = append(l.timed, nil)
		l.startTimed(i, t, 0)
	}
	if p.spec.SecurityRequest && !l.encrypted {
		l.timed = append(l.timed, a.sched.after(attRoundTrip, host.securityRequested))
	}
	if p.server != nil {
		p.server.connected(l)
	}
	return l
}

// startTimed lets the i-th self-changing characteristic change for the n-th time.
func (l *link) startTimed(i int, t timedNotification, n int) {
	l.timed[i] = l.air.sched.after(t.every, func() {
		a := l.p.table.byHandle[t.handle]
		switch {
		case len(t.values) > 0:
			a.value = t.values[n%len(t.values)]
		case len(a.value) > 0:
			v := append([]byte(nil), a.value...)
			v[len(v)-1]++
			a.value = v
		}
		l.notify(t.handle, a.value, cccdNotify|cccdIndicate)
		if !l.closed {
			l.startTimed(i, t, n+1)
		}
	})
}

// request puts an ATT request on the link, after those before it. It reports
// whether there was room.
func (l *link) request(takes time.Duration, do func(finish func())) bool {
	if l.closed || len(l.queue) >= maxLinkQueue {
		return false
	}
	l.queue = append(l.queue, attRequest{l.pace(takes), do})
	if l.running == nil {
		l.next()
	}
	return true
}

func (l *link) next() {
	if len(l.queue) == 0 || l.closed {
		l.running = nil
		return
	}
	l.running = l.air.sched.after(l.queue[0].takes, func() {
		l.queue[0].do(func() {
			if !l.closed {
				l.queue = l.queue[1:]
				l.next()
			}
		})
	})
}

// pace is how long something takes on the air that takes so long usually.
func (l *link) pace(usual time.Duration) time.Duration {
	if l.p.spec.Fast {
		return 0
	}
	return usual
}

// read asks for a value and calls done with the answer, unless the link ends before. It reports whether there was room.
func (l *link) read(handle uint16, done func(value []byte, e ble.ATTError)) bool {
	return l.request(attRoundTrip+l.delayOf(handle), func(finish func()) {
		answer := func(value []byte, e ble.ATTError) {
			done(value, e)
			finish()
		}
		value, e := l.p.table.read(l, handle)
		if e == 0 && l.p.serves(handle) {
			l.p.server.ask(Event{Event: "read", Handle: handle}, answer)
			return
		}
		answer(value, e)
	})
}

// write writes a value, with response or as a command, and calls done when that was answered or handed over, unless the link ends before.
// It reports whether there was room.
func (l *link) write(handle uint16, value []byte, response bool, done func(e ble.ATTError)) bool {
	takes := time.Duration(attCommand)
	if response {
		takes = attRoundTrip + l.delayOf(handle)
	} else {
		value = value[:min(len(value), int(l.mtu)-attHeader)] // a command is not split
	}
	return l.request(takes, func(finish func()) {
		answer := func(e ble.ATTError) {
			done(e)
			finish()
		}
		e := l.p.table.write(l, handle, value, !response)
		if e != 0 || !l.p.serves(handle) {
			answer(e)
			return
		}
		told := Event{Event: "write", Handle: handle, Value: slices.Clone(value)}
		if !response {
			l.p.server.tell(told)
			answer(0)
			return
		}
		l.p.server.ask(told, func(_ []byte, e ble.ATTError) { answer(e) })
	})
}

// delayOf is how much later than usual the peripheral answers for handle.
func (l *link) delayOf(handle uint16) time.Duration {
	if a := l.p.table.byHandle[handle]; a != nil {
		return a.delay
	}
	return 0
}

// notify sends value if the client configuration has one of the bits, and
// reports whether it did.
func (l *link) notify(handle uint16, value []byte, bits uint16) bool {
	for _, c := range l.p.table.cccds {
		if c.cccdOf == handle && l.cccd[c.handle]&bits != 0 {
			l.host.notified(handle, value[:min(len(value), int(l.mtu)-attHeader)])
			return true
		}
	}
	return false
}

// encrypt makes the link encrypted by a new bond or the present one.
func (l *link) encrypt() {
	l.encrypted = true
	if l.p.bonds[l.proxy] == nil {
		l.p.bonds[l.proxy] = &bond{}
	}
}

// close ends the link. What was under way on it is never answered.
func (l *link) close() {
	if l.closed {
		return
	}
	l.closed = true
	l.queue = nil
	l.air.sched.stop(l.running)
	for _, e := range l.timed {
		l.air.sched.stop(e)
	}
	if b := l.p.bonds[l.proxy]; b != nil && l.encrypted {
		b.cccd = l.cccd
	}
	l.p.link = nil
	if l.p.server != nil {
		l.p.server.disconnected()
	}
	l.p.resumeAdvertising()
}

// subscriptions lists the value handles with a CCCD that is not zero.
func (l *link) subscriptions() []uint16 {
	out := []uint16{}
	for _, c := range l.p.table.cccds {
		if l.cccd[c.handle] != 0 {
			out = append(out, c.cccdOf)
		}
	}
	return out
}
