package hci

import (
	"context"
	"errors"
	"time"

	"bluez-esphome/internal/ble"
)

// paramsTimeout bounds what a proxy takes to change the parameters of a link.
const paramsTimeout = 10 * time.Second

// linkCommands are about one connection; they begin with its handle.
var linkCommands = map[uint16]command{
	0x0406: {"Disconnect", 0, 5, 3, func(c *Controller, op uint16, p []byte) {
		l := c.link(op, p)
		if l == nil {
			return
		}
		c.commandStatus(op, success)
		l.hold.links.Disconnect(l.peer, func() {}) // or what is dialled early
		l.end(localHostEnded)
	}},
	0x041d: {"Read Remote Version Information", 2, 7, 2, func(c *Controller, op uint16, p []byte) {
		if l := c.link(op, p); l != nil { // no proxy tells what the peripheral is
			c.commandStatus(op, success)
			c.event(eventRemoteVersion, 0, p[0], p[1], lmpVersion, manufacturer&0xff, manufacturer>>8, 0, 0)
		}
	}},
	0x1405: {"Read RSSI", 15, 5, 2, func(c *Controller, op uint16, p []byte) {
		l := c.links[u16(p)]
		if l == nil {
			c.commandComplete(op, unknownConnection, p[0], p[1], 0)
			return
		}
		rssi := int8(ble.NoRSSI)
		if raw, _, ok := c.cfg.Air.Last(l.peer); ok && ble.KnownRSSI(raw.RSSI) {
			rssi = raw.RSSI
		}
		c.commandComplete(op, success, p[0], p[1], byte(rssi))
	}},
	0x2013: {"LE Connection Update", 27, 2, 14, (*Controller).updateConnection},
	0x2015: {"LE Read Channel Map", 27, 4, 2, func(c *Controller, op uint16, p []byte) {
		status := success
		if c.links[u16(p)] == nil {
			status = unknownConnection
		}
		c.commandComplete(op, status, p[0], p[1], 0xff, 0xff, 0xff, 0xff, 0x1f) // all 37
	}},
	0x2016: {"LE Read Remote Features", 27, 5, 2, func(c *Controller, op uint16, p []byte) {
		if l := c.link(op, p); l != nil {
			c.commandStatus(op, success)
			c.meta(subRemoteFeatures, append([]byte{0, p[0], p[1]}, leFeatures[:]...)...)
		}
	}},
}

// updateConnection asks the proxy for other parameters and tells the host what became of it. A proxy says whether it
// did, not what the peripheral made of it.
func (c *Controller) updateConnection(op uint16, p []byte) {
	l := c.link(op, p)
	if l == nil {
		return
	}
	params := ble.ConnectionParams{MinInterval: u16(p[2:]), MaxInterval: u16(p[4:]), Latency: u16(p[6:]), Timeout: u16(p[8:])}
	if params.Check() != nil {
		c.commandStatus(op, invalidParameters)
		return
	}
	if l.updating || !l.up { // one at a time (Bluetooth Core, Vol 4 Part E, 7.8.18)
		c.commandStatus(op, commandDisallowed)
		return
	}
	l.updating = true
	c.commandStatus(op, success)
	c.spawn(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, paramsTimeout)
		defer cancel()
		err := l.hold.links.SetConnectionParams(ctx, l.peer, params)
		l.later(func() {
			l.updating = false
			status := success
			switch {
			case errors.Is(err, ble.ErrNotSupported):
				status = unsupportedRemote
			case err != nil:
				status = unacceptable
			}
			c.meta(subConnectionUpdate, byte(status), byte(l.handle), byte(l.handle>>8), p[4], p[5], p[6], p[7], p[8], p[9])
		})
	})
}
