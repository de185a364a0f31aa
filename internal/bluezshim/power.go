package bluezshim

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

func setPowered(o *dbusobj.Object, v any, c *dbusobj.Call) {
	a, on := ofAdapter(o), v.(bool)
	if a.powered == on {
		c.Reply()
		return
	}
	if on && a.offline {
		errFailed("Not Powered").to(c)
		return
	}
	a.st.Off = !on
	a.save()
	if on {
		a.powerOn(func() { c.Reply() })
	} else {
		a.powerOff(func() { c.Reply() })
	}
}

// setOnline follows the proxy of an adapter of its own: offline it is as if powered off, and what the user
// set counts again afterwards.
func (a *adapter) setOnline(online bool) {
	a.offline = !online
	on := online && !a.st.Off
	switch {
	case on && !a.powered:
		a.powerOn(func() {})
	case !on && a.powered:
		a.powerOff(func() {})
	}
}

func (a *adapter) setPairable(on bool) {
	if a.pairable != on {
		a.pairable = on
		a.changed("Pairable")
	}
}

// powerOn and powerOff follow bluetoothd 5.87: the transitional PowerState, the reply, then
// the new state.
func (a *adapter) powerOn(reply func()) {
	a.powerState = "off-enabling"
	a.changed("PowerState")
	a.shim.conn.Flush()
	reply()
	a.powered, a.powerState = true, "on"
	a.changed("Powered", "PowerState")
	a.shim.monitors.resume(a)
}

// powerOff drops every discovery session, the temporary devices, and the links that this adapter was asked for.
// Monitors stay registered. Links of a proxy that is offline end by themselves.
func (a *adapter) powerOff(reply func()) {
	for _, d := range a.sortedDevices() {
		if d.temporary() && !d.peer.busy() {
			d.remove()
		}
	}
	a.powerState = "on-disabling"
	a.changed("PowerState")
	a.shim.conn.Flush()
	reply()
	a.shim.monitors.suspend(a)
	clear(a.sessions)
	a.powered, a.powerState, a.discovering = false, "off", false
	a.cfg.Air.SetDiscovery(nil)
	a.changed("Powered", "PowerState", "Discovering")
	if a.discoverable {
		a.setDiscoverable(false)
	}
	for _, d := range a.sortedDevices() {
		d.endDiscovery()
		p := d.peer
		switch {
		case p.via != a.cfg.Via || a.offline:
		case p.connected:
			p.downReason = &downReason{ble.DisconnectUnknown}
			p.disconnect(nil)
		case p.connecting != nil:
			a.shim.links.CancelConnect(p.addr)
		}
	}
}
