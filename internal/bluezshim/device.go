package bluezshim

import (
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"

	"github.com/godbus/dbus/v5"
)

// temporaryTimeout is how long a device that is not bonded stays after it was last heard or
// disconnected (bluetoothd 5.87, TemporaryTimeout).
const temporaryTimeout = 30 * time.Second

// A device is a peer as one adapter found it: the Device1 object and what was advertised to that
// adapter while a client discovered or monitored.
type device struct {
	adapter *adapter
	peer    *peer
	obj     *dbusobj.Object
	path    dbus.ObjectPath

	rssi         int16 // last signalled; 0 absent
	seen         bool  // in the present discovery
	connectable  bool
	flags        uint8
	hasFlags     bool
	tx           int8
	hasTx        bool
	manufacturer []ble.ManufacturerData
	serviceData  []serviceDatum
	other        []ble.ADStructure
	lastSeen     time.Time // of the last report, or of the end of a link
	services     map[uint16]*dbusobj.Object
}

// A serviceDatum keeps the UUID as D-Bus shows it, so that emitting does not format it again.
type serviceDatum struct {
	uuid ble.UUID
	key  string
	data []byte
}

// newDevice publishes a peer under the adapter; its InterfacesAdded carries what is set before the handler returns.
func (a *adapter) newDevice(p *peer) *device {
	d := &device{
		adapter: a, peer: p, connectable: true, lastSeen: a.shim.clock.Now(),
		path: a.obj.Path() + "/" + dbus.ObjectPath(p.addr.PathElement()),
	}
	a.devices[p.addr] = d
	p.devices = append(p.devices, d)
	d.obj = a.shim.conn.Add(d.path, d, a.shim.ifaces.device, a.shim.ifaces.bearer, a.shim.ifaces.extension)
	if p.battery != nil {
		d.obj.AddInterface(a.shim.ifaces.battery)
	}
	d.publishServices()
	a.shim.expiry.plan(d)
	return d
}

func (d *device) changed(props ...string) {
	d.obj.Changed(d.adapter.shim.ifaces.device, props...)
}

// temporary devices go by themselves; only bonding makes one stay (recorded of bluetoothd 5.87).
func (d *device) temporary() bool { return !d.peer.st.Bonded }

// remove unpublishes the device and everything below it.
func (d *device) remove() {
	d.adapter.shim.conn.Remove(d.obj)
	delete(d.adapter.devices, d.peer.addr)
	p := d.peer
	for i, x := range p.devices {
		if x == d {
			p.devices = append(p.devices[:i:i], p.devices[i+1:]...)
			break
		}
	}
	for _, s := range p.services {
		s.unpublished(d)
	}
	if len(p.devices) == 0 {
		for _, c := range p.chars {
			c.removed()
		}
		p.services, p.chars = nil, map[uint16]*char{}
	}
	p.release()
}

// report takes what the air has to say of one device.
func (a *adapter) report(r *ble.Report) {
	if !a.powered {
		return
	}
	d := a.devices[r.Address]
	if r.Evicted { // the table of devices bounds the objects
		if d != nil && d.temporary() && !d.peer.busy() {
			d.remove()
		}
		return
	}
	firstSight := r.Discovered && (d == nil || !d.seen) // in this discovery
	if r.Discovered || r.Monitored {
		if d == nil {
			d = a.newDevice(a.shim.peer(r.Address, r.Type))
			if len(r.Payloads) == 0 { // it was removed since it was last reported in full
				d.merge(r.Last, false)
			}
		}
		d.apply(r)
	}
	for _, ev := range r.Events {
		a.shim.monitors.event(ev, r.Address, d)
	}
	if r.AutoConnect && r.Connectable && firstSight && !d.peer.busy() && !d.peer.st.Blocked {
		d.peer.connect(a.cfg.Via, func(error) {})
	}
}

// endDiscovery is the end of the last session: RSSI and TxPower are invalidated, and a
// device that cannot be connected to goes at once.
func (d *device) endDiscovery() {
	if !d.seen {
		return
	}
	d.lastSeen = d.lastHeard()
	d.seen = false
	d.adapter.shim.expiry.plan(d)
	if d.hasTx {
		d.hasTx = false
		d.changed("TxPower")
	}
	if d.rssi != 0 {
		d.rssi = 0
		d.changed("RSSI")
	}
	if d.temporary() && !d.connectable && !d.peer.busy() {
		d.adapter.shim.conn.Flush()
		d.remove()
	}
}
