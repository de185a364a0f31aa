package bluezshim

import (
	"cmp"
	"slices"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

// A session is one client's filter, and whether the client discovers now. A filter may be set before
// StartDiscovery and stays for the next one after StopDiscovery.
type session struct {
	filter      ble.DiscoveryFilter
	discovering bool
}

// maxSessions bounds what local callers can make the adapter remember; each bus name has one.
const maxSessions = 4096

func (a *adapter) session(sender string) *session {
	s := a.sessions[sender]
	if s == nil {
		s = &session{}
		a.sessions[sender] = s
		a.shim.watchClient(sender)
	}
	return s
}

func (a *adapter) startDiscovery(c *dbusobj.Call) {
	s := a.sessions[c.Sender]
	switch {
	case !a.powered:
		errNotReady.to(c)
	case s != nil && s.discovering,
		s != nil && s.filter.Transport == ble.TransportBREDR, // no scan can be started
		s == nil && len(a.sessions) >= maxSessions:
		errBusy.to(c)
	default:
		a.session(c.Sender).discovering = true
		c.Reply()
		a.discoveryChanged()
	}
}

func (a *adapter) stopDiscovery(c *dbusobj.Call) {
	s := a.sessions[c.Sender]
	switch {
	case !a.powered:
		errNotReady.to(c)
	case s == nil || !s.discovering:
		errFailed("No discovery started").to(c)
	default:
		s.discovering = false
		c.Reply()
		a.discoveryChanged()
	}
}

func (a *adapter) setDiscoveryFilter(c *dbusobj.Call) {
	if !a.powered {
		errNotReady.to(c)
		return
	}
	filter, given, err := parseDiscoveryFilter(c.Body[0])
	if err != nil {
		errInvalidArguments.to(c)
		return
	}
	s := a.sessions[c.Sender]
	switch {
	case !given && s == nil:
	case !given && !s.discovering:
		delete(a.sessions, c.Sender)
	case s == nil && len(a.sessions) >= maxSessions:
		errBusy.to(c)
		return
	case !a.roomFor(c.Sender, len(filter.UUIDs)):
		errLimits("Too many UUIDs in filters").to(c)
		return
	default:
		s = a.session(c.Sender)
		s.filter = filter
	}
	c.Reply()
	if s != nil && s.discovering {
		a.cfg.Air.SetDiscovery(a.filters())
	}
}

func (a *adapter) filters() []ble.DiscoveryFilter {
	var out []ble.DiscoveryFilter
	for _, s := range a.sessions {
		if s.discovering {
			out = append(out, s.filter)
		}
	}
	return out
}

// discoveryChanged follows a session's start or end. After the last one the devices lose their
// RSSI, the non-connectable ones go, and then Discovering is false (bluetoothd 5.87).
func (a *adapter) discoveryChanged() {
	filters := a.filters()
	a.cfg.Air.SetDiscovery(filters)
	on := len(filters) > 0
	if on == a.discovering {
		return
	}
	a.discovering = on
	if !on {
		for _, d := range a.sortedDevices() {
			d.endDiscovery()
		}
		a.shim.conn.Flush()
	}
	a.changed("Discovering")
}

func (a *adapter) sortedDevices() []*device {
	out := make([]*device, 0, len(a.devices))
	for _, d := range a.devices {
		out = append(out, d)
	}
	slices.SortFunc(out, func(x, y *device) int { return cmp.Compare(x.peer.addr, y.peer.addr) })
	return out
}
