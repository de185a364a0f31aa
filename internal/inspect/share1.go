package inspect

import (
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/share"
)

// sharePath is the object that tells of shared proxies. It is there while any are to be shared.
const sharePath = Folder + "/share"

// Sharing shows on the bus what is shared with whom: org.bluez_esphome.Share1. It belongs to the loop.
type Sharing struct {
	conn   *dbusobj.Conn
	board  *Board
	status func() []share.Status
	obj    *dbusobj.Object // nil: hidden
}

// NewSharing makes a Sharing that is hidden.
func NewSharing(conn *dbusobj.Conn, board *Board, status func() []share.Status) *Sharing {
	return &Sharing{conn: conn, board: board, status: status}
}

// Show adds the object or takes it away; in the loop, or before it runs.
func (s *Sharing) Show(on bool) {
	switch {
	case on && s.obj == nil:
		s.obj = s.conn.Add(sharePath, s, s.newInterface())
	case !on && s.obj != nil:
		s.conn.Remove(s.obj)
		s.obj = nil
	}
}

// newInterface makes org.bluez_esphome.Share1. Its one property moves all the time and is never signalled.
func (s *Sharing) newInterface() *dbusobj.Interface {
	return &dbusobj.Interface{
		Name: "org.bluez_esphome.Share1",
		Properties: []dbusobj.Property{{
			Name: "Proxies", Type: "aa{sv}",
			Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) {
				e.Array("a{sv}", func() {
					for _, st := range s.status() {
						s.encode(e, st)
					}
				})
			},
		}},
	}
}

// encode writes one shared proxy: Name, Proxy (absent where all are shared as one), Address (host:port), Encrypted,
// Batches, Dropped, Hosts.
func (s *Sharing) encode(e *dbusobj.Encoder, st share.Status) {
	e.Array("{sv}", func() {
		text(e, "Name", st.Name)
		if st.Proxy != "" {
			entry(e, "Proxy", "o", func() { e.ObjectPath(s.board.Path(st.Proxy)) })
		}
		text(e, "Address", st.Address)
		entry(e, "Encrypted", "b", func() { e.Bool(st.Encrypted) })
		number(e, "Batches", st.Batches)
		number(e, "Dropped", st.Dropped)
		entry(e, "Hosts", "aa{sv}", func() {
			e.Array("a{sv}", func() {
				for _, h := range st.Hosts {
					encodeHost(e, h)
				}
			})
		})
	})
}

// encodeHost writes one host: Name, Address (host:port), Since (seconds since 1970), Subscribed, Batches (sent),
// Dropped (batches that it lost), DroppedValues (notifications that it lost), Links (addresses of peripherals, attempts
// included), Has (Bluetooth, entities, both or nothing), Refused (why it has no entities though it asked; absent if it
// has), ToDevice and FromDevice (messages passed on unread).
func encodeHost(e *dbusobj.Encoder, h share.HostStatus) {
	e.Array("{sv}", func() {
		text(e, "Name", h.Name)
		text(e, "Address", h.Address)
		number(e, "Since", uint64(h.Since.Unix()))
		entry(e, "Subscribed", "b", func() { e.Bool(h.Subscribed) })
		number(e, "Batches", h.Batches)
		number(e, "Dropped", h.Dropped)
		number(e, "DroppedValues", h.Values)
		text(e, "Has", h.Has())
		if h.Refused != "" {
			text(e, "Refused", h.Refused)
		}
		number(e, "ToDevice", h.ToDevice)
		number(e, "FromDevice", h.FromDevice)
		entry(e, "Links", "as", func() {
			e.Array("s", func() {
				for _, a := range h.Links {
					e.String(a.String())
				}
			})
		})
	})
}
