package hci

// Event codes (Bluetooth Core, Vol 4 Part E, 7.7).
const (
	eventDisconnection    = 0x05
	eventEncryption       = 0x08
	eventRemoteVersion    = 0x0c
	eventCommandComplete  = 0x0e
	eventCommandStatus    = 0x0f
	eventHardwareError    = 0x10
	eventCompletedPackets = 0x13
	eventMeta             = 0x3e
)

// LE Meta subevents (7.7.65), which are bits of the LE event mask, too, less one.
const (
	subConnection       = 0x01
	subAdvertising      = 0x02
	subConnectionUpdate = 0x03
	subRemoteFeatures   = 0x04
)

// metaBit is LE Meta in the event mask (7.3.1).
const metaBit = 61

// event sends an event. c.mu is held.
func (c *Controller) event(code byte, params ...byte) {
	b := make([]byte, 0, 3+len(params))
	c.out.put(append(append(b, typeEvent, code, byte(len(params))), params...))
}

// meta sends an LE event if the host's masks let it pass.
func (c *Controller) meta(sub byte, params ...byte) {
	if c.passes(sub) {
		c.event(eventMeta, append([]byte{sub}, params...)...)
	}
}

// passes reports whether the masks let an LE event pass. A host that never set them gets all: by the letter of the
// specification LE Meta is off then, and who forgets to ask would see nothing at all.
func (c *Controller) passes(sub byte) bool {
	return c.eventMask>>metaBit&1 != 0 && c.leMask>>(sub-1)&1 != 0
}

func (c *Controller) reports() bool { return c.passes(subAdvertising) }

// commandComplete answers a command. One command more may come at any time.
func (c *Controller) commandComplete(op uint16, status errorCode, params ...byte) {
	c.event(eventCommandComplete, append([]byte{1, byte(op), byte(op >> 8), byte(status)}, params...)...)
}

func (c *Controller) commandStatus(op uint16, status errorCode) {
	c.event(eventCommandStatus, byte(status), 1, byte(op), byte(op>>8))
}

// disconnected tells the host of the end of a link.
func (c *Controller) disconnected(l *link, reason errorCode) {
	c.event(eventDisconnection, 0, byte(l.handle), byte(l.handle>>8), byte(reason))
}

// credit allows the host n more ACL packets. Credits of a link that ended are not given back: the host takes them
// itself.
func (c *Controller) credit(handle uint16, n uint16) {
	c.event(eventCompletedPackets, 1, byte(handle), byte(handle>>8), byte(n), byte(n>>8))
}
