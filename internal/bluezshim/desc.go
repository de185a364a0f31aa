package bluezshim

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

// A desc is one GATT descriptor of a peer, with one D-Bus object under each adapter's device.
type desc struct {
	char    *char
	def     ble.Descriptor
	uuid    string
	value   []byte
	objs    []*dbusobj.Object
	read    sharedRead
	writing bool
}

// readValue is GattDescriptor1.ReadValue.
func (d *desc) readValue(call *dbusobj.Call) {
	p := d.char.peer()
	d.read.join(p, call, func(done func([]byte, error)) {
		p.shim.links.Do(p.addr, ble.Operation{Kind: ble.OpReadDescriptor, Table: p.db, Handle: d.def.Handle}, done)
	}, d.setValue)
}

// setValue caches and signals a value, as char.setValue does.
func (d *desc) setValue(v []byte) {
	d.value = v
	for _, o := range d.objs {
		o.ChangedNow(d.char.peer().shim.ifaces.desc, "Value")
	}
}

// writeValue is GattDescriptor1.WriteValue. The CCCD belongs to StartNotify; type is ignored (bluetoothd 5.87).
func (d *desc) writeValue(call *dbusobj.Call) {
	p := d.char.peer()
	value := call.Body[0].([]byte)
	offset, _, err := parseOptions(call.Body[1])
	switch {
	case !p.connected:
		errDisconnected.to(call)
		return
	case d.writing:
		errInProgress.to(call)
		return
	case err != nil:
		errInvalidArguments.to(call)
		return
	case d.char.svc.readOnly():
		errNotAuthorized.to(call)
		return
	case d.def.UUID == ble.UUIDCCCD:
		errNotPermitted("Write not permitted").to(call)
		return
	}
	if e := unwritable(value, offset); e != nil {
		e.to(call)
		return
	}
	d.writing = true
	p.shim.links.Do(p.addr, ble.Operation{Kind: ble.OpWriteDescriptor, Table: p.db, Handle: d.def.Handle, Value: value}, func(_ []byte, err error) {
		p.shim.post(func() {
			d.writing = false
			replyWrite(call, err)
			p.afterError(err)
		})
	})
}

func ofDesc(o *dbusobj.Object) *desc { return o.Data().(*desc) }

// newDescInterface makes org.bluez.GattDescriptor1 of bluetoothd 5.87, in its order.
func newDescInterface() *dbusobj.Interface {
	return &dbusobj.Interface{
		Name: "org.bluez.GattDescriptor1",
		Methods: []dbusobj.Method{
			{Name: "ReadValue", In: readArgs, Out: valueArgs, Call: func(c *dbusobj.Call) { ofDesc(c.Object).readValue(c) }},
			{Name: "WriteValue", In: writeArgs, Call: func(c *dbusobj.Call) { ofDesc(c.Object).writeValue(c) }},
		},
		Properties: []dbusobj.Property{
			{Name: "Handle", Type: "q", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Uint16(ofDesc(o).def.Handle) }},
			{Name: "UUID", Type: "s", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.String(ofDesc(o).uuid) }},
			{Name: "Characteristic", Type: "o", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.ObjectPath(parent(o)) }},
			{Name: "Value", Type: "ay", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Bytes(ofDesc(o).value) }},
		},
	}
}
