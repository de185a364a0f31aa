package hci

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/h4"
	"bluez-esphome/internal/smp"
)

// connectCommands make connections.
var connectCommands = map[uint16]command{
	0x200d: {"LE Create Connection", 26, 4, 25, (*Controller).createConnection},
	0x200e: {"LE Create Connection Cancel", 26, 5, 0, (*Controller).cancelConnection},
}

// createConnection is answered by a status; whatever becomes of the attempt, LE Connection Complete says success or,
// after a cancel, that it was cancelled: with any other error the kernel is stuck with the device (Linux 6.1 and 6.12).
func (c *Controller) createConnection(op uint16, p []byte) {
	list := p[4] == 1
	own := smp.Peer{Address: c.cfg.Address, Type: ble.Public}
	if p[12]&1 == 1 {
		own = smp.Peer{Address: c.random, Type: ble.Random}
	}
	a := &attempt{
		c: c, list: list, own: own, peer: h4.AddressAt(p[6:]), typ: h4.WireType(ble.AddressType(p[5])),
		interval: u16(p[15:]), latency: u16(p[17:]), timeout: u16(p[19:]),
	}
	minInterval := u16(p[13:])
	switch {
	case c.attempt != nil:
		c.commandStatus(op, commandDisallowed)
	case p[4] > 1 || p[12] > 3 || !list && p[5] > 3 || !scanTimes(u16(p[0:]), u16(p[2:])) || p[12]&1 == 1 && !c.hasRandom,
		minInterval < 6 || a.interval > 3200 || minInterval > a.interval || a.latency > 499 || a.timeout < 10 || a.timeout > 3200:
		c.commandStatus(op, invalidParameters)
	case !list && c.linkOf(a.peer) != nil:
		c.commandStatus(op, connectionExists)
	case len(c.links) >= maxLinks || c.cfg.Air.Full() && (list || !c.cfg.Air.Linked(a.peer)):
		c.commandStatus(op, connectionLimit)
	default:
		c.commandStatus(op, success)
		c.attempt = a
		a.begin()
	}
}

func (c *Controller) cancelConnection(op uint16, _ []byte) {
	a := c.attempt
	if a == nil {
		c.commandComplete(op, commandDisallowed)
		return
	}
	c.commandComplete(op, success)
	a.stop()
	if l := a.link; l != nil {
		l.close()
		l.hold.links.CancelConnect(l.peer)
	}
	peer, typ := a.peer, a.typ
	if a.list {
		peer, typ = 0, 0
	}
	c.meta(subConnection, appendConnection(nil, cancelled, 0, peer, typ, 0, 0, 0)...)
}

// appendConnection appends the parameters of LE Connection Complete behind the subevent; we are always the central.
func appendConnection(b []byte, status errorCode, handle uint16, peer ble.Address, typ ble.AddressType, interval, latency, timeout uint16) []byte {
	b = append(b, byte(status), byte(handle), byte(handle>>8), 0, byte(typ))
	b = h4.AppendAddress(b, peer)
	return append(b, byte(interval), byte(interval>>8), byte(latency), byte(latency>>8), byte(timeout), byte(timeout>>8), 0)
}
