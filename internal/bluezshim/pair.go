package bluezshim

import "bluez-esphome/internal/dbusobj"

// callPair is Device1.Pair (bluetoothd 5.87): it connects if need be, pairs, and replies once the services
// are resolved. A proxy can only do Just Works, so no agent is asked.
func (d *device) callPair(c *dbusobj.Call) {
	p := d.peer
	switch {
	case p.pairing != nil, p.connecting != nil:
		errInProgress.to(c)
		return
	case p.st.Bonded:
		errAlreadyExists.to(c)
		return
	case !d.adapter.powered, p.st.Blocked:
		errAuthFailed.to(c)
		return
	}
	p.pairing, p.pairSender = c, c.Sender
	p.shim.watchClient(c.Sender)
	if p.connected {
		p.pair(c)
		return
	}
	p.connect(d.adapter.cfg.Via, func(err error) {
		if p.pairing != c {
			return
		}
		if err != nil {
			p.pairFailed(pairError(err))
			return
		}
		p.pair(c)
	})
}

func (p *peer) pair(c *dbusobj.Call) {
	p.shim.links.Pair(p.addr, func(err error) {
		p.shim.post(func() {
			if p.pairing != c {
				return
			}
			if err != nil {
				p.pairFailed(pairError(err))
				p.disconnect(nil) // as bluetoothd does
				return
			}
			p.setBonded(true)
			if p.resolved {
				p.pairDone()
			}
		})
	})
}

// pairDone replies to Pair; called when paired and resolved.
func (p *peer) pairDone() {
	if p.pairing != nil && p.st.Bonded {
		p.pairing.Reply()
		p.pairing = nil
	}
}

func (p *peer) pairFailed(e dbusError) {
	e.to(p.pairing)
	p.pairing = nil
}

// setBonded signals Bonded at once and Paired, as bluetoothd 5.87 does, only with resolved services.
func (p *peer) setBonded(bonded bool) {
	if p.st.Bonded == bonded {
		return
	}
	p.st.Bonded = bonded
	p.heldPaired = bonded && p.connected && !p.resolved
	p.changed("Bonded")
	if !p.heldPaired {
		p.changed("Paired")
	}
	p.save()
	if !bonded {
		for _, d := range p.devices {
			d.touch()
		}
	}
}

func (d *device) callCancelPairing(c *dbusobj.Call) {
	p := d.peer
	if p.pairing == nil {
		errDoesNotExist.to(c)
		if p.st.Bonded {
			p.disconnect(nil) // recorded of bluetoothd 5.87: the link of a paired device is dropped all the same
		}
		return
	}
	p.cancelPairing()
	c.Reply()
}

// cancelPairing answers the pending Pair and ends the attempt or the link (bluetoothd 5.87: also when the
// caller leaves the bus).
func (p *peer) cancelPairing() {
	p.pairFailed(errAuthCanceled)
	if p.connecting != nil {
		p.shim.links.CancelConnect(p.addr)
	}
	p.disconnect(nil)
}
