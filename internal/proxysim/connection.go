package proxysim

import (
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
)

// Codes that messages 69 and 146 carry besides the peripheral's HCI reasons.
const (
	codeCancelled  = 0x100 // the attempt was cancelled, or the controller gave it up
	codeInvalidArg = 0x102 // ESP_ERR_INVALID_ARG: connection parameters out of range
	codeGATTError  = 133   // ESP_GATT_ERROR: the attempt failed
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
//	reserved ──> parked ──> connecting ──> settingUp ──> established ──> closing ──> (gone)
//
// A slot is taken from reserved to the end. A cached connection skips settingUp. A connection stays
// reserved only if its request was refused for lack of an address type.
type connState uint8

const (
	connReserved   connState = iota // a slot, and nothing more
	connParked                      // another attempt is under way
	connConnecting                  // the radio waits for the peripheral
	connSettingUp                   // link up; MTU and discovery
	connEstablished
	connClosing
)

// connection is one slot of a proxy in use.
type connection struct {
	proxy    *Proxy
	slot     int // its number
	addr     ble.Address
	addrType ble.AddressType
	cached   bool
	state    connState
	// unwanted: a DISCONNECT waits for the end of an attempt, this one's or, while parked, another's.
	unwanted   bool
	link       *link
	linked     bool   // counted in Proxy.links
	wasLinked  bool   // had a link at all
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
	if c == nil {
		c = p.reserve(p, r.Address)
		if c == nil {
			p.say(logWarn, "no free connections available", "device", r.Address)
			p.sendConnection(r.Address, false, 0, 0)
			return
		}
	}
	// The slot is reserved before this is looked at, and nobody is told of it by message 81.
	if !r.HasType && p.fw.needsAddressType() {
		p.say(logWarn, "missing address type in the request to connect", "device", r.Address)
		p.sendConnection(r.Address, false, 0, 0)
		return
	}
	switch c.state {
	case connReserved:
		c.state, c.addrType, c.cached = connParked, r.Type, r.Cached
		p.sendSlots()
		p.promote()
	case connSettingUp, connEstablished:
		p.say(logWarn, "connection request ignored: there is a link", "device", r.Address)
		c.sendAgain()
	case connParked, connConnecting, connClosing: // the first request's answer will come
	}
}

func (p *Proxy) sendConnection(a ble.Address, connected bool, mtu uint16, code int32) {
	p.tell(func(s *apiserver.Session) { s.Connection(a, connected, mtu, code) })
}

func (c *connection) stopTimer() {
	c.proxy.air.sched.stop(c.timer)
	c.timer = nil
}

// establish reports the link. A cached one does not wait for the exchange of MTUs: it reports the
// smallest or, up to 2026.7, what its slot remembers of the link before.
func (c *connection) establish() {
	c.stopTimer()
	c.state = connEstablished
	p := c.proxy
	mtu := c.link.mtu
	if c.cached {
		mtu = defaultMTU
		if p.fw.staleMTU() {
			mtu = p.slotMTU[c.slot]
		}
	}
	p.slotMTU[c.slot] = c.link.mtu
	p.sendConnection(c.addr, true, mtu, 0)
	p.sendSlots()
}

// sendAgain answers a request to connect a link that is up, discovery finished or not.
func (c *connection) sendAgain() {
	var mtu uint16
	if c.proxy.fw.repeatsMTU() {
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
	p := c.proxy
	switch c.state {
	case connReserved:
		if !p.fw.leaksSlots() {
			c.release(0)
		}
	case connParked:
		if p.attempt != nil && !p.fw.cancels() {
			c.unwanted = true // answered when the attempt is over
			return
		}
		c.release(0)
	case connConnecting:
		c.cancel()
	case connSettingUp, connEstablished:
		c.tearDown()
	case connClosing:
	}
}

// tearDown ends the link from this side.
func (c *connection) tearDown() {
	c.state = connClosing
	c.stopTimer()
	code := ReasonLocal
	if c.proxy.cfg.SilentEnd {
		code = 0
	}
	c.timer = c.proxy.air.sched.after(teardown, func() { c.ended(code, true) })
}

// lost implements linkHost.
func (c *connection) lost(reason int32) { c.ended(reason, false) }

// ended does what follows the end of a link; by version the slot is free at
// once or after a while, and the client hears once or twice of an end that it did not ask for.
func (c *connection) ended(reason int32, asked bool) {
	p := c.proxy
	c.state = connClosing
	c.stopTimer()
	c.dropLink()
	switch {
	case p.fw.earlySlot():
		c.release(reason)
		if !asked {
			p.air.sched.after(closeDelay, func() { p.sendConnection(0, false, 0, 0) })
		}
	case p.fw.reportsTwice() && !asked:
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
	if c.linked {
		c.linked = false
		c.proxy.links--
	}
}

// release frees the slot and reports the end.
func (c *connection) release(code int32) {
	p := c.proxy
	c.stopTimer()
	c.dropLink()
	p.vacate(c)
	p.sendConnection(c.addr, false, 0, code)
	p.sendSlots()
	if c.wasLinked && p.links == 0 && p.fw.narrowsScan() {
		p.stopScan() // it starts again with its full window
	}
}

// SetConnectionParams implements apiserver.Backend. Success only means that the request was issued.
func (p *Proxy) SetConnectionParams(_ *apiserver.Session, a ble.Address, params ble.ConnectionParams) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	code := apiserver.ErrorNotConnected
	switch {
	case p.established(a) == nil:
	case params.Check() != nil:
		code = codeInvalidArg
	default:
		code = 0
		p.params[a] = params
	}
	p.tell(func(s *apiserver.Session) { s.ConnectionParamsSet(a, code) })
}
