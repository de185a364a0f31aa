package hci

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/h4"
)

// scanCommands are scanning, the accept list and the random address.
var scanCommands = map[uint16]command{
	0x2005: {"LE Set Random Address", 25, 4, 6, func(c *Controller, op uint16, p []byte) {
		c.random, c.hasRandom = h4.AddressAt(p), true
		c.commandComplete(op, success)
	}},
	0x200b: {"LE Set Scan Parameters", 26, 2, 7, func(c *Controller, op uint16, p []byte) {
		status := success
		switch {
		case p[0] > 1 || p[5] > 3 || p[6] > 3 || !scanTimes(u16(p[1:]), u16(p[3:])):
			status = invalidParameters
		case !c.scan.configure(scanConfig{active: p[0] == 1, acceptList: p[6]&1 == 1}):
			status = commandDisallowed
		}
		c.commandComplete(op, status)
	}},
	0x200c: {"LE Set Scan Enable", 26, 3, 2, func(c *Controller, op uint16, p []byte) {
		if p[0] > 1 || p[1] > 1 {
			c.commandComplete(op, invalidParameters)
			return
		}
		c.commandComplete(op, success) // before the first report
		c.scan.enable(p[0] == 1, p[1] == 1)
		c.wish()
	}},
	0x200f: {"LE Read Filter Accept List Size", 26, 6, 0, answers(func(*Controller) []byte { return []byte{acceptListSize} })},
	0x2010: {"LE Clear Filter Accept List", 26, 7, 0, func(c *Controller, op uint16, _ []byte) {
		c.commandComplete(op, c.changeAccepted(func() errorCode { c.scan.clearAccepted(); return success }))
	}},
	0x2011: {"LE Add Device To Filter Accept List", 27, 0, 7, func(c *Controller, op uint16, p []byte) {
		c.commandComplete(op, c.changeAccepted(func() errorCode {
			switch {
			case p[0] == 0xff: // anonymous advertisers, which only extended advertising has
				return success
			case p[0] > 1:
				return invalidParameters
			case !c.scan.setAccepted(h4.AddressAt(p[1:]), ble.AddressType(p[0]), true):
				return memoryExceeded
			}
			return success
		}))
	}},
	0x2012: {"LE Remove Device From Filter Accept List", 27, 1, 7, func(c *Controller, op uint16, p []byte) {
		c.commandComplete(op, c.changeAccepted(func() errorCode {
			c.scan.setAccepted(h4.AddressAt(p[1:]), 0, false)
			return success
		}))
	}},
	0x2014: {"LE Set Host Channel Classification", 27, 3, 5, func(c *Controller, op uint16, _ []byte) {
		c.commandComplete(op, success) // the proxies' radios choose their channels
	}},
}

// changeAccepted refuses changes of the accept list while LE Create Connection uses it, as a controller does.
func (c *Controller) changeAccepted(change func() errorCode) errorCode {
	if c.attempt != nil && c.attempt.list {
		return commandDisallowed
	}
	return change()
}

// scanTimes checks interval and window, in 0.625 ms.
func scanTimes(interval, window uint16) bool {
	return interval >= 4 && interval <= 0x4000 && window >= 4 && window <= interval
}
