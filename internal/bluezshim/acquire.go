package bluezshim

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

// acquireWrite is GattCharacteristic1.AcquireWrite (bluetoothd 5.87): each packet of the socket becomes one
// Write Command; closing the socket releases it. Until the services of the link are resolved it waits.
func (c *char) acquireWrite(call *dbusobj.Call) {
	p := c.peer()
	switch {
	case !p.connected:
		errDisconnected.to(call)
	case c.svc.readOnly():
		errNotAuthorized.to(call)
	case c.writeAcquired():
		errNotPermitted("Write acquired").to(call)
	case !c.def.Properties.Has(ble.PropWriteWithoutResponse):
		errNotSupported.to(call)
	case p.shim.pipes.refuses(call):
	default:
		c.writerCall = call
		if p.resolved {
			c.settleAcquireWrite(nil)
			return
		}
		p.shim.watchClient(call.Sender)
	}
}

// writeAcquired says whether AcquireWrite was called and not released.
func (c *char) writeAcquired() bool { return c.writer != nil || c.writerCall != nil }

// settleAcquireWrite answers an AcquireWrite that waits for the services.
func (c *char) settleAcquireWrite(err error) {
	call, p := c.writerCall, c.peer()
	if call == nil {
		return
	}
	c.writerCall = nil
	if err != nil {
		operationError(err).to(call)
		return
	}
	if p.shim.pipes.refuses(call) { // others were acquired meanwhile
		return
	}
	pipe, fd, err := newPipe(c, call.Sender, p.mtu-attHeader, func() {
		c.writer = nil
		c.changed("WriteAcquired")
	})
	if err != nil {
		errFailed(err.Error()).to(call)
		return
	}
	c.writer = pipe
	c.changed("WriteAcquired")
	pipe.readCommands()
	replyFD(call, fd, p.mtu)
}

func replyFD(call *dbusobj.Call, fd, mtu int) {
	call.Reply(func(e *dbusobj.Encoder) {
		e.FD(fd)
		e.Uint16(uint16(mtu))
	})
}

// acquireNotify is GattCharacteristic1.AcquireNotify (bluetoothd 5.87): notifications come as packets, and
// neither Value nor Notifying changes.
func (c *char) acquireNotify(call *dbusobj.Call) {
	p, n := c.peer(), &c.notify
	switch {
	case !p.connected:
		errDisconnected.to(call)
	case n.pipe != nil || n.acquireCall != nil:
		errNotPermitted("Notify acquired").to(call)
	case len(n.sessions) > 0:
		errInProgress.to(call)
	case !c.canNotify():
		errNotSupported.to(call)
	case p.shim.pipes.refuses(call):
	default:
		n.acquireCall = call
		p.shim.watchClient(call.Sender)
		c.subscribe()
	}
}

// settleAcquire answers an AcquireNotify whose subscription came about or failed.
func (c *char) settleAcquire(err error) {
	n, call := &c.notify, c.notify.acquireCall
	if call == nil {
		return
	}
	n.acquireCall = nil
	p := c.peer()
	if err != nil {
		operationError(err).to(call)
		return
	}
	if p.shim.pipes.refuses(call) { // others were acquired meanwhile
		c.unsubscribeIfIdle()
		return
	}
	pipe, fd, err := newPipe(c, call.Sender, 0, func() {
		n.pipe = nil
		c.changed("NotifyAcquired")
		c.unsubscribeIfIdle()
	})
	if err != nil {
		errFailed(err.Error()).to(call)
		c.unsubscribeIfIdle()
		return
	}
	n.pipe, n.acquirer = pipe, call.Sender
	c.changed("NotifyAcquired")
	pipe.watchHangup()
	replyFD(call, fd, p.mtu)
}

// dropAcquired lets go of the notifications of a client that left the bus, whoever has the descriptor now. AcquireWrite
// knows no client: only the descriptor's end ends it (bluetoothd 5.87, both).
func (c *char) dropAcquired(sender string) {
	if n := &c.notify; n.pipe != nil && n.acquirer == sender {
		n.pipe.close()
	}
	if call := c.writerCall; call != nil && call.Sender == sender {
		c.settleAcquireWrite(ble.ErrNotConnected) // nobody hears it
	}
}
