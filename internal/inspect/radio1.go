package inspect

import (
	"fmt"

	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/scanner"

	"github.com/godbus/dbus/v5"
)

// Radios adds org.bluez_esphome.Radio1 to adapters: whose adapter it is (absent for the merged one and while that is
// not known), and how full its table is. What moves all the time is never signalled. The interface's name must not
// contain "adapter": bt-adapter of bluez-tools takes each such interface for an adapter.
type Radios struct {
	conn  *dbusobj.Conn
	board *Board
	added map[int]*dbusobj.Interface // by the adapter's index; in the loop
}

// NewRadios makes Radios that extend nothing yet.
func NewRadios(conn *dbusobj.Conn, board *Board) *Radios {
	return &Radios{conn: conn, board: board, added: map[int]*dbusobj.Interface{}}
}

// Extend adds the interface to hciN, or signals that the proxy became known. In the loop, or before it runs; proxy
// gives the ID of the proxy whose adapter it is, "" for the merged one and while none is known.
func (r *Radios) Extend(index int, table *scanner.Table, proxy func() string) {
	obj := r.conn.Object(dbus.ObjectPath(fmt.Sprintf("/org/bluez/hci%d", index)))
	switch {
	case obj == nil:
	case r.added[index] != nil:
		obj.Changed(r.added[index], "Proxy")
	default:
		r.added[index] = r.newInterface(table, proxy)
		obj.AddInterface(r.added[index])
	}
}

func (r *Radios) newInterface(table *scanner.Table, proxy func() string) *dbusobj.Interface {
	path := func() dbus.ObjectPath { return r.board.Path(proxy()) }
	counter := func(name string, get func(scanner.Stats) int) dbusobj.Property {
		return dbusobj.Property{Name: name, Type: "u", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Uint32(uint32(get(table.Stats()))) }}
	}
	return &dbusobj.Interface{
		Name: "org.bluez_esphome.Radio1",
		Properties: []dbusobj.Property{
			{
				Name: "Proxy", Type: "o",
				Exists: func(*dbusobj.Object) bool { return path() != "/" },
				Get:    func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.ObjectPath(path()) },
			},
			counter("Devices", func(s scanner.Stats) int { return s.Devices }),
			counter("MaxDevices", func(s scanner.Stats) int { return s.MaxDevices }),
			{Name: "Dropped", Type: "t", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Uint64(table.Stats().Evicted) }},
		},
	}
}
