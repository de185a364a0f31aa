package hci

import (
	"encoding/binary"

	"bluez-esphome/internal/h4"
)

// informationCommands are Reset, what the controller says of itself, and the event masks.
var informationCommands = map[uint16]command{
	0x0c03: {"Reset", 5, 7, 0, (*Controller).resetCommand},
	0x0c01: {"Set Event Mask", 5, 6, 8, func(c *Controller, op uint16, p []byte) {
		c.eventMask = binary.LittleEndian.Uint64(p)
		c.scan.setMask(c.reports())
		c.commandComplete(op, success)
	}},
	0x2001: {"LE Set Event Mask", 25, 0, 8, func(c *Controller, op uint16, p []byte) {
		c.leMask = binary.LittleEndian.Uint64(p)
		c.scan.setMask(c.reports())
		c.commandComplete(op, success)
	}},
	0x1001: {"Read Local Version Information", 14, 3, 0, answers(func(*Controller) []byte {
		return []byte{hciVersion, revision & 0xff, revision >> 8, lmpVersion, manufacturer & 0xff, manufacturer >> 8, revision & 0xff, revision >> 8}
	})},
	0x1002: {"Read Local Supported Commands", -1, 0, 0, func(c *Controller, op uint16, _ []byte) {
		c.commandComplete(op, success, c.supported[:]...)
	}},
	0x1003: {"Read Local Supported Features", 14, 5, 0, answers(func(*Controller) []byte { return lmpFeatures[:] })},
	0x1009: {"Read BD_ADDR", 15, 1, 0, answers(func(c *Controller) []byte { return h4.AppendAddress(nil, c.cfg.Address) })},
	0x2002: {"LE Read Buffer Size", 25, 1, 0, answers(func(*Controller) []byte {
		return []byte{aclLength & 0xff, aclLength >> 8, aclPackets}
	})},
	0x2003: {"LE Read Local Supported Features", 25, 2, 0, answers(func(*Controller) []byte { return leFeatures[:] })},
	0x201c: {"LE Read Supported States", 28, 3, 0, answers(func(*Controller) []byte { return leStates[:] })},
}

// resetCommand forgets everything. Links end without an event, as Reset has it (Bluetooth Core, Vol 4 Part E, 7.3.2).
func (c *Controller) resetCommand(op uint16, _ []byte) {
	c.forget()
	c.commandComplete(op, success)
}
