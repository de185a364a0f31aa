package bluezshim

import (
	"bluez-esphome/internal/dbusobj"
)

func ofDevice(o *dbusobj.Object) *device { return o.Data().(*device) }

func deviceMethod(f func(d *device, c *dbusobj.Call)) func(*dbusobj.Call) {
	return func(c *dbusobj.Call) { f(ofDevice(c.Object), c) }
}

func deviceString(f func(d *device) string) func(*dbusobj.Object, *dbusobj.Encoder) {
	return func(o *dbusobj.Object, e *dbusobj.Encoder) { e.String(f(ofDevice(o))) }
}

func deviceBool(f func(d *device) bool) func(*dbusobj.Object, *dbusobj.Encoder) {
	return func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Bool(f(ofDevice(o))) }
}

func deviceHas(f func(d *device) bool) func(*dbusobj.Object) bool {
	return func(o *dbusobj.Object) bool { return f(ofDevice(o)) }
}

// disconnectedSignal says why a link ended (bluetoothd 5.87).
var disconnectedSignal = dbusobj.Signal{Name: "Disconnected", Args: []dbusobj.Arg{{Name: "name", Type: "s"}, {Name: "message", Type: "s"}}}

func never(*dbusobj.Object) bool { return false }

// newDeviceInterface makes org.bluez.Device1 of bluetoothd 5.87, in its order. Class, WakeAllowed and Sets
// are there as in bluetoothd and never have a value: they belong to classic Bluetooth, HID hosts and set
// coordinators.
func newDeviceInterface() *dbusobj.Interface {
	return &dbusobj.Interface{
		Name: "org.bluez.Device1",
		Methods: []dbusobj.Method{
			{Name: "Disconnect", Call: deviceMethod((*device).callDisconnect)},
			{Name: "Connect", Call: deviceMethod((*device).callConnect)},
			{Name: "ConnectProfile", In: []dbusobj.Arg{{Name: "UUID", Type: "s"}}, Call: deviceMethod((*device).connectProfile)},
			{Name: "DisconnectProfile", In: []dbusobj.Arg{{Name: "UUID", Type: "s"}}, Call: deviceMethod((*device).disconnectProfile)},
			{Name: "Pair", Call: deviceMethod((*device).callPair)},
			{Name: "CancelPairing", Call: deviceMethod((*device).callCancelPairing)},
		},
		Signals: []dbusobj.Signal{disconnectedSignal},
		Properties: []dbusobj.Property{
			{Name: "Address", Type: "s", Get: deviceString(func(d *device) string { return d.peer.addr.String() })},
			{Name: "AddressType", Type: "s", Get: deviceString(func(d *device) string { return d.peer.typ.String() })},
			{Name: "Name", Type: "s", Get: deviceString(func(d *device) string { return d.peer.st.Name }), Exists: deviceHas(func(d *device) bool { return d.peer.st.Name != "" })},
			{Name: "Alias", Type: "s", Get: deviceString(func(d *device) string { return d.peer.alias() }), Set: setDeviceAlias},
			{Name: "Class", Type: "u", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Uint32(0) }, Exists: never},
			{
				Name: "Appearance", Type: "q", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Uint16(ofDevice(o).peer.st.Appearance) },
				Exists: deviceHas(func(d *device) bool { return d.peer.st.Appearance != 0 }),
			},
			{
				Name: "Icon", Type: "s", Get: deviceString(func(d *device) string { return icon(d.peer.st.Appearance) }),
				Exists: deviceHas(func(d *device) bool { return d.peer.st.Appearance != 0 && icon(d.peer.st.Appearance) != "" }),
			},
			{Name: "Paired", Type: "b", Get: deviceBool(func(d *device) bool { return d.peer.paired() })},
			{Name: "Bonded", Type: "b", Get: deviceBool(func(d *device) bool { return d.peer.st.Bonded })},
			{Name: "Trusted", Type: "b", Get: deviceBool(func(d *device) bool { return d.peer.st.Trusted }), Set: setTrusted},
			{Name: "Blocked", Type: "b", Get: deviceBool(func(d *device) bool { return d.peer.st.Blocked }), Set: setBlocked},
			{Name: "LegacyPairing", Type: "b", Get: deviceBool(func(*device) bool { return false })},
			{Name: "CablePairing", Type: "b", Get: deviceBool(func(*device) bool { return false })},
			{
				Name: "RSSI", Type: "n", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Int16(ofDevice(o).rssi) },
				Exists: deviceHas(func(d *device) bool { return d.rssi != 0 }),
			},
			{Name: "Connected", Type: "b", Get: deviceBool(func(d *device) bool { return d.peer.connected })},
			{Name: "UUIDs", Type: "as", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) {
				e.Array("s", func() {
					for _, u := range ofDevice(o).peer.uuids {
						e.String(u.String())
					}
				})
			}},
			{
				Name: "Modalias", Type: "s", Get: deviceString(func(d *device) string { return d.peer.st.Modalias }),
				Exists: deviceHas(func(d *device) bool { return d.peer.st.Modalias != "" }),
			},
			{Name: "Adapter", Type: "o", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.ObjectPath(ofDevice(o).adapter.obj.Path()) }},
			{
				Name: "ManufacturerData", Type: "a{qv}", Get: encodeManufacturer,
				Exists: deviceHas(func(d *device) bool { return len(d.manufacturer) > 0 }),
			},
			{Name: "ServiceData", Type: "a{sv}", Get: encodeServiceData, Exists: deviceHas(func(d *device) bool { return len(d.serviceData) > 0 })},
			{
				Name: "TxPower", Type: "n", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Int16(int16(ofDevice(o).tx)) },
				Exists: deviceHas(func(d *device) bool { return d.hasTx }),
			},
			{Name: "ServicesResolved", Type: "b", Get: deviceBool(func(d *device) bool { return d.peer.resolved })},
			{
				Name: "AdvertisingFlags", Type: "ay", Get: func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Bytes([]byte{ofDevice(o).flags}) },
				Exists: deviceHas(func(d *device) bool { return d.hasFlags }),
			},
			{Name: "AdvertisingData", Type: "a{yv}", Get: encodeOther, Exists: deviceHas(func(d *device) bool { return len(d.other) > 0 })},
			{Name: "WakeAllowed", Type: "b", Get: deviceBool(func(*device) bool { return false }), Exists: never, Set: unsettable},
			{Name: "Sets", Type: "a{oa{sv}}", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Array("{oa{sv}}", func() {}) }, Exists: never},
		},
	}
}

// unsettable is the setter of a property that never exists: the tree refuses the Set before it gets
// here, but introspection shows it writable, as bluetoothd's does.
func unsettable(_ *dbusobj.Object, _ any, c *dbusobj.Call) { errNotSupported.to(c) }

func encodeManufacturer(o *dbusobj.Object, e *dbusobj.Encoder) {
	e.Array("{qv}", func() {
		for _, m := range ofDevice(o).manufacturer {
			e.Entry(func() { e.Uint16(m.Company); e.Variant("ay", func() { e.Bytes(m.Data) }) })
		}
	})
}

func encodeServiceData(o *dbusobj.Object, e *dbusobj.Encoder) {
	e.Array("{sv}", func() {
		for _, s := range ofDevice(o).serviceData {
			e.Entry(func() { e.String(s.key); e.Variant("ay", func() { e.Bytes(s.data) }) })
		}
	})
}

func encodeOther(o *dbusobj.Object, e *dbusobj.Encoder) {
	e.Array("{yv}", func() {
		for _, s := range ofDevice(o).other {
			e.Entry(func() { e.Byte(s.Type); e.Variant("ay", func() { e.Bytes(s.Data) }) })
		}
	})
}
