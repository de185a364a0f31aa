package daemon

import (
	"fmt"

	"bluez-esphome/internal/dbusobj"

	"github.com/godbus/dbus/v5"
)

// newAdapterInterface makes org.bluez_esphome.Radio1: whose adapter it is (absent for the merged one and while that is not
// known), and how full its table is. What moves all the time is never signalled.
// Its name must not contain "adapter": bt-adapter of bluez-tools takes each such interface for an adapter.
func newAdapterInterface(d *Daemon, own *ownAdapter) *dbusobj.Interface {
	table := d.table
	if own != nil {
		table = own.table
	}
	return &dbusobj.Interface{
		Name: "org.bluez_esphome.Radio1",
		Properties: []dbusobj.Property{
			{
				Name: "Proxy", Type: "o",
				Exists: func(*dbusobj.Object) bool { return d.proxies.ownerOf(own) != "" },
				Get:    func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.ObjectPath(d.proxies.ownerOf(own)) },
			},
			{Name: "Devices", Type: "u", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Uint32(uint32(table.Stats().Devices)) }},
			{Name: "MaxDevices", Type: "u", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Uint32(uint32(d.opts.Config.MaxDevices)) }},
			{Name: "Dropped", Type: "t", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Uint64(table.Stats().Evicted) }},
		},
	}
}

// extendAdapter adds the interface to hciN, or signals that the proxy became known. In the loop, or before it runs; own
// is nil for the merged adapter.
func (d *Daemon) extendAdapter(index int, own *ownAdapter) {
	obj := d.conn.Object(dbus.ObjectPath(fmt.Sprintf("/org/bluez/hci%d", index)))
	switch {
	case obj == nil:
	case d.extended[index] != nil:
		obj.Changed(d.extended[index], "Proxy")
	default:
		d.extended[index] = newAdapterInterface(d, own)
		obj.AddInterface(d.extended[index])
	}
}

// ownerOf is the object of the proxy whose adapter it is, "" if none has been online in this run.
func (s *proxySet) ownerOf(own *ownAdapter) dbus.ObjectPath {
	if own == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.list {
		if p.ownAdapter() == own {
			return p.obj.obj.Path()
		}
	}
	return ""
}
