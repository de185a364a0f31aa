package inspect

import (
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/hci"
)

// controllersPath is the object that tells of virtual controllers. It is there while any are configured.
const controllersPath = Folder + "/controllers"

// Controllers shows on the bus what the hosts of virtual controllers do: org.bluez_esphome.Controllers1. It belongs to
// the loop.
type Controllers struct {
	conn   *dbusobj.Conn
	status func() []hci.Status
	obj    *dbusobj.Object // nil: hidden
}

// NewControllers makes Controllers that are hidden.
func NewControllers(conn *dbusobj.Conn, status func() []hci.Status) *Controllers {
	return &Controllers{conn: conn, status: status}
}

// Show adds the object or takes it away; in the loop, or before it runs.
func (c *Controllers) Show(on bool) {
	switch {
	case on && c.obj == nil:
		c.obj = c.conn.Add(controllersPath, c, c.newInterface())
	case !on && c.obj != nil:
		c.conn.Remove(c.obj)
		c.obj = nil
	}
}

// newInterface makes org.bluez_esphome.Controllers1. Its one property moves all the time and is never signalled.
func (c *Controllers) newInterface() *dbusobj.Interface {
	return &dbusobj.Interface{
		Name: "org.bluez_esphome.Controllers1",
		Properties: []dbusobj.Property{{
			Name: "Controllers", Type: "aa{sv}",
			Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) {
				e.Array("a{sv}", func() {
					for _, st := range c.status() {
						encodeController(e, st)
					}
				})
			},
		}},
	}
}

// encodeController writes one controller: Name (its transport), Address, Host (absent without one), Since (of the host,
// seconds since 1970), Scanning, Active (scanning), Connecting, Links (addresses of peripherals), Reports (advertisements
// that hosts were sent), Dropped (that they lost), Lost (times that the bytes of a host were no packets).
func encodeController(e *dbusobj.Encoder, st hci.Status) {
	e.Array("{sv}", func() {
		text(e, "Name", st.Name)
		text(e, "Address", st.Address.String())
		if st.Host != "" {
			text(e, "Host", st.Host)
			number(e, "Since", uint64(st.Since.Unix()))
		}
		yes(e, "Scanning", st.Scanning)
		yes(e, "Active", st.Active)
		yes(e, "Connecting", st.Connecting)
		number(e, "Reports", st.Reports)
		number(e, "Dropped", st.Dropped)
		number(e, "Lost", st.Lost)
		entry(e, "Links", "as", func() {
			e.Array("s", func() {
				for _, l := range st.Links {
					e.String(l.Address.String())
				}
			})
		})
	})
}
