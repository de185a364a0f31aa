package inspect

import (
	"slices"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/fleet"
)

// newInterface makes org.bluez_esphome.Proxy1. Take takes the proxy from whichever host has it, and returns at once.
// LastHeard moves all the time and is never signalled; neither are Links, LastLinkError, NextAttempt (0: none is
// planned) and Bonds, the devices whose bond the proxy holds.
func (b *Board) newInterface() *dbusobj.Interface {
	of := func(f func(p *fleet.Proxy, e *dbusobj.Encoder)) func(*dbusobj.Object, *dbusobj.Encoder) {
		return func(o *dbusobj.Object, e *dbusobj.Encoder) { f(o.Data().(*shown).proxy, e) }
	}
	str := func(name string, get func(*fleet.Proxy) string) dbusobj.Property {
		return dbusobj.Property{Name: name, Type: "s", Get: of(func(p *fleet.Proxy, e *dbusobj.Encoder) { e.String(get(p)) })}
	}
	return &dbusobj.Interface{
		Name: "org.bluez_esphome.Proxy1",
		Methods: []dbusobj.Method{{Name: "Take", Call: func(c *dbusobj.Call) {
			c.Object.Data().(*shown).proxy.Take()
			c.Reply()
		}}},
		Properties: []dbusobj.Property{
			str("Name", (*fleet.Proxy).Label),
			str("Host", func(p *fleet.Proxy) string { return fleet.HostPort(p.Config()) }),
			str("State", func(p *fleet.Proxy) string { return p.State().String() }),
			str("LastError", func(p *fleet.Proxy) string { return p.LastError() }),
			str("LastLinkError", func(p *fleet.Proxy) string {
				if b.LinkError == nil {
					return ""
				}
				return b.LinkError(p)
			}),
			str("ESPHomeVersion", func(p *fleet.Proxy) string { return p.Version() }),
			{Name: "Features", Type: "as", Get: of(func(p *fleet.Proxy, e *dbusobj.Encoder) { e.Strings(p.Features().Names()) })},
			str("BluetoothAddress", (*fleet.Proxy).BluetoothAddress),
			str("ScanMode", (*fleet.Proxy).ScanMode),
			{Name: "SlotLimit", Type: "q", Get: of(func(p *fleet.Proxy, e *dbusobj.Encoder) { e.Uint16(clamp16(p.Slots().Limit)) })},
			{Name: "SlotFree", Type: "q", Get: of(func(p *fleet.Proxy, e *dbusobj.Encoder) { e.Uint16(clamp16(p.Slots().Free)) })},
			{Name: "Allocated", Type: "as", Get: of(func(p *fleet.Proxy, e *dbusobj.Encoder) {
				e.Array("s", func() {
					for _, a := range p.Slots().Allocated {
						e.String(a.String())
					}
				})
			})},
			{Name: "NextAttempt", Type: "t", Get: of(func(p *fleet.Proxy, e *dbusobj.Encoder) { e.Uint64(seconds(p.NextAttempt())) })},
			{Name: "Bonds", Type: "as", Get: of(func(p *fleet.Proxy, e *dbusobj.Encoder) {
				e.Array("s", func() {
					if b.Bonds == nil {
						return
					}
					for _, a := range b.Bonds(p) {
						e.String(a.String())
					}
				})
			})},
			{Name: "Via", Type: "as", Get: of(func(p *fleet.Proxy, e *dbusobj.Encoder) { e.Strings(p.Via()) })},
			str("Note", func(p *fleet.Proxy) string { return p.Note() }),
			{Name: "Links", Type: "aa{sv}", Get: of(func(p *fleet.Proxy, e *dbusobj.Encoder) { encodeLinks(e, b.links(p)) })},
			{Name: "LastHeard", Type: "t", Get: of(func(p *fleet.Proxy, e *dbusobj.Encoder) { e.Uint64(seconds(p.LastHeard())) })},
		},
	}
}

func clamp16(n int) uint16 { return uint16(min(max(n, 0), 0xffff)) }

// seconds is a time in seconds since 1970; 0 for none.
func seconds(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.Unix())
}

// ForeignOwner is who has a slot that is not ours: a host that is on the proxy itself. StateForeign is the state of
// such a slot.
const (
	ForeignOwner = "another host"
	StateForeign = "foreign"
)

// A Link is one connection slot of a proxy that is in use.
type Link struct {
	Address ble.Address
	State   string    // a gatt.HoldState, or StateForeign
	Since   time.Time // zero if it is not ours
	Owners  []string  // who uses it, by name
}

// WithForeign adds to the slots of a proxy that are ours what else it shows as taken.
func WithForeign(links []Link, p *fleet.Proxy) []Link {
	for _, a := range p.Slots().Allocated {
		if !slices.ContainsFunc(links, func(l Link) bool { return l.Address == a }) {
			links = append(links, Link{Address: a, State: StateForeign, Owners: []string{ForeignOwner}})
		}
	}
	return links
}

// encodeLinks writes them as {Address s, State s, Since t (seconds since 1970, 0 unknown), Owners as}.
func encodeLinks(e *dbusobj.Encoder, links []Link) {
	e.Array("a{sv}", func() {
		for _, l := range links {
			e.Array("{sv}", func() {
				text(e, "Address", l.Address.String())
				text(e, "State", l.State)
				number(e, "Since", seconds(l.Since))
				entry(e, "Owners", "as", func() { e.Strings(l.Owners) })
			})
		}
	})
}
