package proxysim

import (
	"slices"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
)

// Codes that message 69 carries besides the peripheral's HCI reasons.
const (
	codeCancelled = 0x100 // the attempt was cancelled, or lasted too long
)

const (
	// teardown is how long the stack takes to end a link.
	teardown = 30 * time.Millisecond
	// closeDelay lies between the stack's DISCONNECT and CLOSE events.
	closeDelay = 20 * time.Millisecond
	// discoverySetup and discoveryEach make up the time of a service discovery.
	discoverySetup = 40 * time.Millisecond
	discoveryEach  = 2 * time.Millisecond // per service or characteristic
	// pairingTime is that of an SMP exchange.
	pairingTime = 150 * time.Millisecond
)

// connState is how far a connection is:
//
//	parked ──> connecting ──> settingUp ──> established ──> closing ──> (gone)
//
// A slot is taken from parked to the end. A cached connection skips settingUp.
type connState uint8

const (
	connParked     connState = iota // another attempt is under way
	connConnecting                  // the radio waits for the peripheral
	connSettingUp                   // link up; MTU and discovery
	connEstablished
	connClosing
	connStuck // refused for lack of an address type; the slot stays taken
)

// connection is one slot of a proxy in use.
type connection struct {
	proxy      *Proxy
	addr       ble.Address
	addrType   ble.AddressType
	cached     bool
	state      connState
	link       *link
	timer      *event // of the present state
	stream     *event // of GetServices
	streamed   bool   // the table of services is freed
	pairing    *event
	registered map[uint16]bool
}

// Connect implements apiserver.Backend.
func (p *Proxy) Connect(_ *apiserver.Session, r apiserver.ConnectRequest) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	if r.Legacy && !p.fw.legacyConnect() {
		p.sendConnection(r.Address, false, 0, 0)
		return
	}
	c := p.conn(r.Address)
	switch {
	case c != nil && c.state == connStuck: // it has its slot already
	case c != nil:
		if c.state == connEstablished {
			p.log.Warn("connection request ignored: already established", "device", r.Address)
			c.sendConnected()
		}
		return // the answer of the first request will come
	case len(p.conns) >= p.cfg.Slots:
		p.log.Warn("no free connections available", "device", r.Address)
		p.sendConnection(r.Address, false, 0, 0)
		return
	default:
		c = &connection{proxy: p, addr: r.Address, registered: map[uint16]bool{}}
		p.conns = append(p.conns, c)
		p.sendSlots()
	}
	c.state, c.addrType, c.cached = connParked, r.Type, r.Cached
	if !r.HasType && p.fw.needsAddressType() {
		c.state = connStuck
		p.sendConnection(r.Address, false, 0, 0)
		return
	}
	p.promote()
}

// conn is the connection to a, or nil.
func (p *Proxy) conn(a ble.Address) *connection {
	for _, c := range p.conns {
		if c.addr == a {
			return c
		}
	}
	return nil
}

func (p *Proxy) sendConnection(a ble.Address, connected bool, mtu uint16, code int32) {
	p.tell(func(s *apiserver.Session) { s.Connection(a, connected, mtu, code) })
}

// promote starts the next attempt, one at a time, or else the scanner.
func (p *Proxy) promote() {
	if p.attempt != nil {
		return
	}
	for _, c := range p.conns {
		if c.state == connParked {
			c.state = connConnecting
			p.attempt = c
			c.timer = p.air.sched.after(p.cfg.EstablishTimeout, func() { c.fail(p.cfg.EstablishError) })
			p.stopScan()
			return
		}
	}
	p.startScan()
}

// matches reports whether per is what c wants to connect to.
func (c *connection) matches(per *peripheral) bool {
	return per.spec.Connectable && per.link == nil && per.addrT&1 == c.addrType&1
}

// fail ends an attempt.
func (c *connection) fail(code int32) {
	c.endAttempt()
	c.release(code)
	c.proxy.promote()
}

// endAttempt makes room for the next attempt.
func (c *connection) endAttempt() {
	c.stopTimer()
	if c.proxy.attempt == c {
		c.proxy.attempt = nil
	}
}

func (c *connection) stopTimer() {
	c.proxy.air.sched.stop(c.timer)
	c.timer = nil
}

// reach makes the link: the peripheral was just heard.
func (c *connection) reach(per *peripheral) {
	p := c.proxy
	if code := per.spec.ConnectError[p.cfg.Name]; code != 0 {
		c.fail(code)
		return
	}
	c.endAttempt()
	c.link = p.air.connect(per, c, p.cfg.BluetoothMAC.String(), p.bonds[c.addr])
	if c.cached {
		c.establish()
	} else {
		c.state = connSettingUp
		n := 0
		for _, s := range per.table.services {
			n += 1 + len(s.Characteristics)
		}
		c.timer = p.air.sched.after(discoverySetup+time.Duration(n)*discoveryEach, c.establish)
	}
	p.promote()
}

func (c *connection) establish() {
	c.stopTimer()
	c.state = connEstablished
	c.sendConnected()
}

// sendConnected reports the link, and the slots again.
func (c *connection) sendConnected() {
	mtu := uint16(defaultMTU) // of a cached connection, whose exchange is not waited for
	if !c.cached {
		mtu = c.link.mtu
	}
	c.proxy.sendConnection(c.addr, true, mtu, 0)
	c.proxy.sendSlots()
}

// Disconnect implements apiserver.Backend.
func (p *Proxy) Disconnect(_ *apiserver.Session, a ble.Address) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	if c := p.conn(a); c != nil {
		c.disconnect()
		return
	}
	p.sendConnection(a, false, 0, 0)
	p.sendSlots()
}

// disconnect ends c from this side, in whatever state it is.
func (c *connection) disconnect() {
	switch c.state {
	case connParked, connStuck:
		c.release(0)
	case connConnecting:
		c.fail(codeCancelled)
	case connSettingUp, connEstablished:
		c.state = connClosing
		c.stopTimer()
		c.timer = c.proxy.air.sched.after(teardown, func() { c.ended(ReasonLocal) })
	case connClosing:
	}
}

// lost implements linkHost.
func (c *connection) lost(reason int32) { c.ended(reason) }

// ended does what follows the end of a link; by version the slot is free at
// once or after a while, and the client hears of it once or twice.
func (c *connection) ended(reason int32) {
	p := c.proxy
	c.state = connClosing
	c.stopTimer()
	c.dropLink()
	switch {
	case p.fw.earlySlot():
		c.release(reason)
		p.air.sched.after(closeDelay, func() { p.sendConnection(0, false, 0, 0) })
	case p.fw.doubleDisconnect():
		p.sendConnection(c.addr, false, 0, reason)
		c.timer = p.air.sched.after(closeDelay, func() { c.release(reason) })
	default:
		c.timer = p.air.sched.after(closeDelay, func() { c.release(reason) })
	}
}

func (c *connection) dropLink() {
	c.proxy.air.sched.stop(c.stream)
	c.proxy.air.sched.stop(c.pairing)
	c.stream, c.pairing = nil, nil
	if c.link != nil {
		c.link.close()
	}
}

// release frees the slot and reports the end.
func (c *connection) release(code int32) {
	p := c.proxy
	c.stopTimer()
	c.dropLink()
	p.conns = slices.DeleteFunc(p.conns, func(o *connection) bool { return o == c })
	p.sendConnection(c.addr, false, 0, code)
	p.sendSlots()
}

// SetConnectionParams implements apiserver.Backend. Success only means that the request was issued.
func (p *Proxy) SetConnectionParams(_ *apiserver.Session, a ble.Address, params ble.ConnectionParams) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	code := apiserver.ErrorNotConnected
	if p.established(a) != nil {
		code = 0
		if p.params == nil {
			p.params = map[ble.Address]ble.ConnectionParams{}
		}
		p.params[a] = params
	}
	p.tell(func(s *apiserver.Session) { s.ConnectionParamsSet(a, code) })
}

// ConnectionParams are the parameters that were asked for last on a link to a, and whether any were.
func (p *Proxy) ConnectionParams(a ble.Address) (ble.ConnectionParams, bool) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	params, ok := p.params[a]
	return params, ok
}
