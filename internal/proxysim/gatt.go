package proxysim

import (
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
)

const (
	// servicePace is the time between two messages of the service stream: one turn of the firmware's loop.
	servicePace = 16 * time.Millisecond
	// Codes of the stack in message 82 (esp_gatt_status_t).
	gattNoResources = 0x80
	gattCongested   = 0x8f
)

// established is the connection to a that GATT requests can use, or nil.
func (p *Proxy) established(a ble.Address) *connection {
	if c := p.conn(a); c != nil && c.state == connEstablished {
		return c
	}
	return nil
}

func (p *Proxy) gattError(a ble.Address, handle uint16, code int32) {
	p.tell(func(s *apiserver.Session) { s.GATTError(a, handle, code) })
}

// GetServices implements apiserver.Backend.
func (p *Proxy) GetServices(_ *apiserver.Session, a ble.Address) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	c := p.established(a)
	switch {
	case c == nil:
		p.gattError(a, 0, apiserver.ErrorNotConnected)
	case c.cached:
		p.tell(func(s *apiserver.Session) { s.ServicesDone(a) })
	case c.streamed, c.stream != nil && !p.fw.restartsServices():
		// The table is freed, or the stream goes on: no answer.
	default:
		c.streamServices()
	}
}

// streamServices sends the database a message at a time.
func (c *connection) streamServices() {
	p := c.proxy
	limit := 0
	short := false
	if p.fw.batchedServices() {
		limit = apiserver.ServicesSize
		short = p.subscriber != nil && p.subscriber.ShortUUIDs()
	}
	batches := apiserver.ServiceBatches(c.link.p.table.services, limit, short)
	first := true
	var next func()
	next = func() {
		if p.hold && !first {
			c.stream = p.air.sched.after(servicePace, next)
			return
		}
		first = false
		if len(batches) == 0 {
			c.stream, c.streamed = nil, true
			p.tell(func(s *apiserver.Session) { s.ServicesDone(c.addr) })
			return
		}
		p.tell(func(s *apiserver.Session) { s.Services(c.addr, batches[0], short) })
		batches = batches[1:]
		c.stream = p.air.sched.after(servicePace, next)
	}
	if p.truncate > 0 && len(batches) > 0 {
		p.truncate--
		batches = batches[:len(batches)-1]
	}
	p.air.sched.stop(c.stream)
	c.stream = p.air.sched.after(servicePace, next)
}

// Truncate lets the next n streams of services lose their last message, as firmware 2025.8 to 2026.7 does when its
// TCP buffer is full.
func (p *Proxy) Truncate(n int) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	p.truncate = n
}

// HoldServices lets streams of services stop after their first message, until it is called with false.
func (p *Proxy) HoldServices(hold bool) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	p.hold = hold
}

// Read implements apiserver.Backend.
func (p *Proxy) Read(_ *apiserver.Session, a ble.Address, handle uint16) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	c := p.established(a)
	if c == nil {
		p.gattError(a, handle, apiserver.ErrorNotConnected)
		return
	}
	room := c.link.read(handle, func(value []byte, e ble.ATTError) {
		if e != 0 {
			p.gattError(a, handle, int32(e))
			return
		}
		p.tell(func(s *apiserver.Session) { s.ReadData(a, handle, value) })
	})
	if !room {
		p.gattError(a, handle, gattCongested)
	}
}

// Write implements apiserver.Backend. A write without response is acknowledged too,
// as by the firmware, whatever the peripheral made of it.
func (p *Proxy) Write(_ *apiserver.Session, a ble.Address, handle uint16, value []byte, response bool) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	c := p.established(a)
	if c == nil {
		p.gattError(a, handle, apiserver.ErrorNotConnected)
		return
	}
	room := c.link.write(handle, value, response, func(e ble.ATTError) {
		if e != 0 && response {
			p.gattError(a, handle, int32(e))
			return
		}
		p.tell(func(s *apiserver.Session) { s.Written(a, handle) })
	})
	if !room {
		p.gattError(a, handle, gattCongested)
	}
}

// Notify implements apiserver.Backend. It is a registration at the proxy only; the CCCD is the client's affair.
func (p *Proxy) Notify(_ *apiserver.Session, a ble.Address, handle uint16, enable bool) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	c := p.established(a)
	switch {
	case c == nil:
		p.gattError(a, handle, apiserver.ErrorNotConnected)
		return
	case !enable:
		delete(c.registered, handle)
	case !c.registered[handle] && len(c.registered) >= p.cfg.MaxNotifications:
		p.gattError(a, handle, gattNoResources)
		return
	default:
		c.registered[handle] = true
	}
	p.tell(func(s *apiserver.Session) { s.NotifySet(a, handle) })
}

// notified implements linkHost.
func (c *connection) notified(handle uint16, value []byte) {
	if c.registered[handle] {
		c.proxy.tell(func(s *apiserver.Session) { s.NotifyData(c.addr, handle, value) })
	}
}

// Pair implements apiserver.Backend.
func (p *Proxy) Pair(_ *apiserver.Session, a ble.Address) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	c := p.established(a)
	switch {
	case c == nil && p.fw.answersPairWithoutLink():
		p.tell(func(s *apiserver.Session) { s.Paired(a, false, apiserver.ErrorNotConnected) })
	case c == nil:
	case c.link.encrypted:
		p.tell(func(s *apiserver.Session) { s.Paired(a, true, 0) })
	default:
		c.pair()
	}
}

// pair makes the link encrypted by Just Works, and a bond on both sides.
func (c *connection) pair() {
	if c.pairing != nil {
		return
	}
	p := c.proxy
	c.pairing = p.air.sched.after(pairingTime, func() {
		c.pairing = nil
		if e := c.link.p.spec.PairError; e != 0 {
			p.tell(func(s *apiserver.Session) { s.Paired(c.addr, false, e) })
			return
		}
		c.link.encrypt()
		p.bonds[c.addr] = true
		p.tell(func(s *apiserver.Session) { s.Paired(c.addr, true, 0) })
	})
}

// securityRequested implements linkHost: the firmware agrees by itself.
func (c *connection) securityRequested() { c.pair() }

// Unpair implements apiserver.Backend. It needs no link, and leaves one as it is.
func (p *Proxy) Unpair(_ *apiserver.Session, a ble.Address) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	delete(p.bonds, a)
	p.tell(func(s *apiserver.Session) {
		if p.fw.unpairBy85() {
			s.Paired(a, true, 0)
		} else {
			s.Unpaired(a, true, 0)
		}
	})
}

// ClearCache implements apiserver.Backend. It needs no link.
func (p *Proxy) ClearCache(_ *apiserver.Session, a ble.Address) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	p.cleared[a]++
	p.tell(func(s *apiserver.Session) { s.CacheCleared(a, true, 0) })
}
