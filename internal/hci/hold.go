package hci

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
)

// hold is the host's hold on links, from its first connection to its next Reset. After that nothing is told of it.
type hold struct {
	c     *Controller
	links links.Links
	mtu   map[ble.Address]int // as LinkUp told; under Controller.mu
}

var _ links.Events = (*hold)(nil)

// hold gives the hold on links; c.mu is held.
func (c *Controller) hold() *hold {
	if c.host == nil {
		c.host = &hold{c: c, mtu: map[ble.Address]int{}}
		c.host.links = c.cfg.Links(c.host)
	}
	return c.host
}

// with calls f with the host's link to a that is up, if there is one and the hold is not over.
func (h *hold) with(a ble.Address, f func(l *link)) {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	if h.c.host != h {
		return
	}
	if l := h.c.linkOf(a); l != nil && l.up {
		f(l)
	}
}

// LinkUp implements links.Events. The answer to Connect follows, which says whose link it is: one that the host has let
// go of may still have come up.
func (h *hold) LinkUp(a ble.Address, mtu int) {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	h.mtu[a] = mtu
}

// Resolved implements links.Events.
func (h *hold) Resolved(a ble.Address, db *ble.Database, mtu int) {
	h.with(a, func(l *link) { l.att.Resolved(db, mtu) })
}

// LinkDown implements links.Events.
func (h *hold) LinkDown(a ble.Address, reason ble.DisconnectReason) {
	h.with(a, func(l *link) { l.end(reasonOf(reason)) })
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	delete(h.mtu, a)
}

// Notified implements links.Events.
func (h *hold) Notified(a ble.Address, valueHandle uint16, value []byte) {
	h.with(a, func(l *link) { l.att.Notified(valueHandle, value) })
}

// DatabaseChanged implements links.Events.
func (h *hold) DatabaseChanged(a ble.Address, db *ble.Database) {
	h.with(a, func(l *link) { l.att.DatabaseChanged(db) })
}

// Paired implements links.Events. The link towards the host is another one: it is told nothing.
func (h *hold) Paired(ble.Address, bool) {}

// Unsubscribed implements links.Events.
func (h *hold) Unsubscribed(a ble.Address, valueHandle uint16, _ error) {
	h.with(a, func(l *link) { l.att.Unsubscribed(valueHandle) })
}

// reasonOf is what Disconnection Complete says of a link that ended without the host's doing.
func reasonOf(r ble.DisconnectReason) errorCode {
	switch r {
	case ble.DisconnectRemote:
		return remoteUserEnded
	case ble.DisconnectLocal:
		return localHostEnded
	case ble.DisconnectAuthentication:
		return authenticationFailed
	}
	return connectionTimeout // lost, or its proxy is
}
