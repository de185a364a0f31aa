package bluezshim

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

func setDeviceAlias(o *dbusobj.Object, v any, c *dbusobj.Call) {
	p, alias := ofDevice(o).peer, cutAlias(v.(string))
	before := p.alias()
	p.st.Alias = alias
	if p.alias() != before {
		p.changed("Alias")
	}
	p.save()
	c.Reply()
}

func setTrusted(o *dbusobj.Object, v any, c *dbusobj.Call) {
	p := ofDevice(o).peer
	if on := v.(bool); p.st.Trusted != on {
		p.st.Trusted = on
		p.save()
		p.changed("Trusted")
	}
	c.Reply()
}

// setBlocked drops the link of a device that is blocked (bluetoothd 5.87).
func setBlocked(o *dbusobj.Object, v any, c *dbusobj.Call) {
	p := ofDevice(o).peer
	on := v.(bool)
	if p.st.Blocked == on {
		c.Reply()
		return
	}
	p.st.Blocked = on
	p.save()
	p.changed("Blocked")
	c.Reply()
	if on {
		if p.connecting != nil {
			p.shim.links.CancelConnect(p.addr)
		}
		p.disconnect(nil)
	}
}

// connectProfile and disconnectProfile answer as bluetoothd 5.87 does of a device without classic profiles.
func (d *device) connectProfile(c *dbusobj.Call) {
	_, err := ble.ParseUUID(c.Body[0].(string))
	switch {
	case err != nil:
		dbusError{errorPrefix + "InvalidArguments", "br-connection-invalid-argument"}.to(c)
	case !d.adapter.powered:
		dbusError{errorPrefix + "NotReady", "br-connection-adapter-not-powered"}.to(c)
	case d.peer.connecting != nil:
		dbusError{errorPrefix + "InProgress", "br-connection-busy"}.to(c)
	default:
		errFailed("br-connection-sdp-search").to(c)
	}
}

func (d *device) disconnectProfile(c *dbusobj.Call) { errInvalidArguments.to(c) }
