package bluezshim

import (
	"slices"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/links"
)

// A char is one GATT characteristic of a peer, with one D-Bus object under each adapter's device.
type char struct {
	svc   *service
	def   ble.Characteristic
	uuid  string
	flags []string
	value []byte
	descs []*desc
	objs  []*dbusobj.Object

	read    sharedRead // ReadValue calls that share the read that is out
	writing bool       // a write that awaits its response is out
	notify  notifyState
	writer  *pipe // AcquireWrite's
	// writerCall is an AcquireWrite that waits for the services.
	writerCall *dbusobj.Call
}

func newChar(s *service, def ble.Characteristic) *char {
	c := &char{svc: s, def: def, uuid: def.UUID.String(), flags: flags(&def)}
	for i, dd := range def.Descriptors {
		if slices.ContainsFunc(def.Descriptors[:i], func(x ble.Descriptor) bool { return x.Handle == dd.Handle }) {
			continue
		}
		de := &desc{char: c, def: dd, uuid: dd.UUID.String()}
		if dd.UUID == ble.UUIDExtendedProps && def.Extended != 0 {
			de.value = []byte{byte(def.Extended), 0} // it was read with the database
		}
		c.descs = append(c.descs, de)
	}
	return c
}

// flagNames are the names of the properties octet's bits and of the Extended Properties descriptor's
// two, in bluetoothd 5.87's order.
var flagNames = []struct {
	bit  ble.Properties
	name string
}{
	{ble.PropBroadcast, "broadcast"},
	{ble.PropRead, "read"},
	{ble.PropWriteWithoutResponse, "write-without-response"},
	{ble.PropWrite, "write"},
	{ble.PropNotify, "notify"},
	{ble.PropIndicate, "indicate"},
	{ble.PropSignedWrite, "authenticated-signed-writes"},
	{ble.PropExtended, "extended-properties"},
}

func flags(def *ble.Characteristic) []string {
	out := []string{}
	for _, f := range flagNames {
		if def.Properties.Has(f.bit) {
			out = append(out, f.name)
		}
	}
	if def.Extended.Has(ble.ExtReliableWrite) {
		out = append(out, "reliable-write")
	}
	if def.Extended.Has(ble.ExtWritableAuxiliaries) {
		out = append(out, "writable-auxiliaries")
	}
	return out
}

func (c *char) peer() *peer        { return c.svc.peer }
func (c *char) links() links.Links { return c.svc.peer.shim.links }

func (c *char) changed(props ...string) {
	for _, o := range c.objs {
		o.Changed(c.peer().shim.ifaces.char, props...)
	}
}

// setValue caches and signals a value at once; bluetoothd never merges two of them.
func (c *char) setValue(v []byte) {
	c.value = v
	for _, o := range c.objs {
		o.ChangedNow(c.peer().shim.ifaces.char, "Value")
	}
}

func (c *char) linkDown() {
	c.settleAcquireWrite(ble.ErrNotConnected)
	c.closePipes()
	c.notify.linkDown(c)
}

func (c *char) closePipes() {
	if c.writer != nil {
		c.writer.close()
	}
	if c.notify.pipe != nil {
		c.notify.pipe.close()
	}
}

func ofChar(o *dbusobj.Object) *char { return o.Data().(*char) }

func charMethod(f func(c *char, call *dbusobj.Call)) func(*dbusobj.Call) {
	return func(call *dbusobj.Call) { f(ofChar(call.Object), call) }
}

func charHas(f func(c *char) bool) func(*dbusobj.Object) bool {
	return func(o *dbusobj.Object) bool { return f(ofChar(o)) }
}

var (
	readArgs  = []dbusobj.Arg{{Name: "options", Type: "a{sv}"}}
	valueArgs = []dbusobj.Arg{{Name: "value", Type: "ay"}}
	writeArgs = []dbusobj.Arg{{Name: "value", Type: "ay"}, {Name: "options", Type: "a{sv}"}}
	fdArgs    = []dbusobj.Arg{{Name: "fd", Type: "h"}, {Name: "mtu", Type: "q"}}
)

// newCharInterface makes org.bluez.GattCharacteristic1 of bluetoothd 5.87, in its order.
func newCharInterface() *dbusobj.Interface {
	return &dbusobj.Interface{
		Name: "org.bluez.GattCharacteristic1",
		Methods: []dbusobj.Method{
			{Name: "ReadValue", In: readArgs, Out: valueArgs, Call: charMethod((*char).readValue)},
			{Name: "WriteValue", In: writeArgs, Call: charMethod((*char).writeValue)},
			{Name: "AcquireWrite", In: readArgs, Out: fdArgs, Call: charMethod((*char).acquireWrite)},
			{Name: "AcquireNotify", In: readArgs, Out: fdArgs, Call: charMethod((*char).acquireNotify)},
			{Name: "StartNotify", Call: charMethod((*char).startNotify)},
			{Name: "StopNotify", Call: charMethod((*char).stopNotify)},
		},
		Properties: []dbusobj.Property{
			{Name: "Handle", Type: "q", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Uint16(ofChar(o).def.Handle) }},
			{Name: "UUID", Type: "s", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.String(ofChar(o).uuid) }},
			{Name: "Service", Type: "o", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.ObjectPath(parent(o)) }},
			{Name: "Value", Type: "ay", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Bytes(ofChar(o).value) }},
			{
				Name: "Notifying", Type: "b", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Bool(ofChar(o).notify.notifying) },
				Exists: charHas((*char).canNotify),
			},
			{Name: "Flags", Type: "as", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Strings(ofChar(o).flags) }},
			{
				Name: "WriteAcquired", Type: "b", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Bool(ofChar(o).writer != nil) },
				Exists: charHas(func(c *char) bool { return c.def.Properties.Has(ble.PropWriteWithoutResponse) }),
			},
			{
				Name: "NotifyAcquired", Type: "b", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Bool(ofChar(o).notify.pipe != nil) },
				Exists: charHas(func(c *char) bool { return c.def.Properties.Has(ble.PropNotify) }),
			},
			{
				Name: "MTU", Type: "q", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Uint16(uint16(ofChar(o).peer().mtu)) },
				Exists: charHas(func(c *char) bool { return c.peer().connected }),
			},
		},
	}
}

func (c *char) canNotify() bool { return c.def.Properties.Has(ble.PropNotify | ble.PropIndicate) }
