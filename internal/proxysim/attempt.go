package proxysim

import "time"

const (
	// cancelTime is how long firmware that can cancel an attempt takes to do so.
	cancelTime = 15 * time.Millisecond
	// cancelWithin is how long 2026.8 and 2026.9 wait for a teardown that the stack does not report (only read, not
	// measured).
	cancelWithin = 10 * time.Second
	// secondReport lies between the two reports of a failed attempt up to 2026.7.
	secondReport = 150 * time.Millisecond
)

// promote starts the next attempt, one at a time, or else the scanner.
func (p *Proxy) promote() {
	for p.attempt == nil {
		c := p.nextParked()
		switch {
		case c == nil:
			p.startScan()
			return
		case c.unwanted:
			c.release(0)
		default:
			c.state = connConnecting
			p.attempt = c
			c.timer = p.air.sched.after(p.cfg.EstablishTimeout, func() { c.fail(p.cfg.EstablishError) })
			p.stopScan()
		}
	}
}

// matches reports whether per is what c wants to connect to.
func (c *connection) matches(per *peripheral) bool {
	return per.spec.Connectable && per.link == nil && per.addrT&1 == c.addrType&1 &&
		!(c.unwanted && c.proxy.fw.cancelsAtOnce())
}

// cancel is a DISCONNECT during the attempt: at once since 2026.10, within 10 s in 2026.8 and 2026.9. Before, the
// stack has to run out its own time, or to find the peripheral, and until then nothing else is answered.
func (c *connection) cancel() {
	if c.unwanted {
		return
	}
	c.unwanted = true
	p := c.proxy
	switch {
	case p.fw.cancelsAtOnce():
		c.stopTimer()
		c.timer = p.air.sched.after(cancelTime, func() { c.fail(codeCancelled) })
	case p.fw.cancels() && time.Until(c.timer.at) > cancelWithin:
		c.stopTimer()
		c.timer = p.air.sched.after(cancelWithin, func() { c.fail(ReasonTimeout) })
	}
}

// fail ends an attempt without a link. Up to 2026.7 the stack reports that twice, and the second report frees the slot;
// before 2025.8 the first one does.
func (c *connection) fail(code int32) {
	p := c.proxy
	c.endAttempt()
	if p.fw.reportsTwice() {
		c.state = connClosing
		p.sendConnection(c.addr, false, 0, code)
		c.timer = p.air.sched.after(secondReport, func() { c.release(codeGATTError) })
	} else {
		c.release(code)
	}
	p.promote()
}

// endAttempt makes room for the next attempt.
func (c *connection) endAttempt() {
	c.stopTimer()
	if c.proxy.attempt == c {
		c.proxy.attempt = nil
	}
}

// reach makes the link: the peripheral was just heard.
func (c *connection) reach(per *peripheral) {
	p := c.proxy
	if code := per.spec.ConnectError[p.cfg.Name]; code != 0 {
		c.fail(code)
		return
	}
	c.endAttempt()
	c.link = p.air.connect(per, c, p.cfg.BluetoothMAC.String(), p.cfg.Name, p.bonds[c.addr])
	c.linked, c.wasLinked = true, true
	p.links++
	switch {
	case c.unwanted:
		c.tearDown()
	case c.cached:
		c.establish()
	default:
		c.state = connSettingUp
		n := 0
		for _, s := range per.table.services {
			n += 1 + len(s.Characteristics)
		}
		c.timer = p.air.sched.after(discoverySetup+time.Duration(n)*discoveryEach, c.establish)
	}
	p.promote()
}
