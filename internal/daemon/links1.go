package daemon

import (
	"slices"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/gatt"
)

// Who holds a link, beside the hosts that share a proxy, which have names of their own.
const (
	dbusOwner    = "D-Bus"        // programs on the bus: a link is no single one's
	foreignOwner = "another host" // one that is on the proxy itself
)

// stateForeign is that of a slot in use that is not ours.
const stateForeign = "foreign"

// A linkInfo is one connection slot of a proxy that is in use.
type linkInfo struct {
	address ble.Address
	state   string    // a gatt.HoldState, or stateForeign
	since   time.Time // zero if it is not ours
	owners  []string
}

// linksNow lists the slots of the proxy that are in use: ours, and what else it shows as taken.
func (p *proxy) linksNow() []linkInfo {
	d, name := p.set.d, p.Name()
	var out []linkInfo
	for _, h := range d.links.Holds() {
		if h.Proxy != name {
			continue
		}
		l := linkInfo{address: h.Address, state: string(h.State), since: h.Since}
		if h.State != gatt.HoldReleasing {
			l.owners = d.owners.Holders(h.Address)
		}
		out = append(out, l)
	}
	for _, a := range p.Slots().Allocated {
		if !slices.ContainsFunc(out, func(l linkInfo) bool { return l.address == a }) {
			out = append(out, linkInfo{address: a, state: stateForeign, owners: []string{foreignOwner}})
		}
	}
	return out
}

// encodeLinks writes them as {Address s, State s, Since t (seconds since 1970, 0 unknown), Owners as}.
func encodeLinks(e *dbusobj.Encoder, links []linkInfo) {
	e.Array("a{sv}", func() {
		for _, l := range links {
			e.Array("{sv}", func() {
				since := uint64(0)
				if !l.since.IsZero() {
					since = uint64(l.since.Unix())
				}
				text(e, "Address", l.address.String())
				text(e, "State", l.state)
				number(e, "Since", since)
				entry(e, "Owners", "as", func() { e.Strings(l.owners) })
			})
		}
	})
}
