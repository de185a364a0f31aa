package bluezshim

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
)

// bluezVersion is the version of BlueZ whose contract is followed; Modalias carries it.
const (
	bluezModalias    = "usb:v1D6Bp0246d0557"
	espressifCompany = 0x02e5
	bluetoothCore50  = 9
)

func ofAdapter(o *dbusobj.Object) *adapter { return o.Data().(*adapter) }

func adapterMethod(f func(a *adapter, c *dbusobj.Call)) func(*dbusobj.Call) {
	return func(c *dbusobj.Call) { f(ofAdapter(c.Object), c) }
}

func adapterString(f func(a *adapter) string) func(*dbusobj.Object, *dbusobj.Encoder) {
	return func(o *dbusobj.Object, e *dbusobj.Encoder) { e.String(f(ofAdapter(o))) }
}

func adapterBool(f func(a *adapter) bool) func(*dbusobj.Object, *dbusobj.Encoder) {
	return func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Bool(f(ofAdapter(o))) }
}

func adapterUint32(f func(a *adapter) uint32) func(*dbusobj.Object, *dbusobj.Encoder) {
	return func(o *dbusobj.Object, e *dbusobj.Encoder) { e.Uint32(f(ofAdapter(o))) }
}

// newAdapterInterface makes org.bluez.Adapter1 of bluetoothd 5.87, in its order.
func newAdapterInterface() *dbusobj.Interface {
	return &dbusobj.Interface{
		Name: "org.bluez.Adapter1",
		Methods: []dbusobj.Method{
			{Name: "StartDiscovery", Call: adapterMethod((*adapter).startDiscovery)},
			{Name: "SetDiscoveryFilter", In: []dbusobj.Arg{{Name: "properties", Type: "a{sv}"}}, Call: adapterMethod((*adapter).setDiscoveryFilter)},
			{Name: "StopDiscovery", Call: adapterMethod((*adapter).stopDiscovery)},
			{Name: "RemoveDevice", In: []dbusobj.Arg{{Name: "device", Type: "o"}}, Call: adapterMethod((*adapter).removeDevice)},
			{Name: "GetDiscoveryFilters", Out: []dbusobj.Arg{{Name: "filters", Type: "as"}}, Call: func(c *dbusobj.Call) {
				c.Reply(func(e *dbusobj.Encoder) { e.Strings(discoveryFilterKeys) })
			}},
		},
		Properties: []dbusobj.Property{
			{Name: "Address", Type: "s", Get: adapterString(func(a *adapter) string { return a.cfg.Address.String() })},
			{Name: "AddressType", Type: "s", Get: adapterString(func(*adapter) string { return "public" })},
			{Name: "Name", Type: "s", Get: adapterString(func(a *adapter) string { return a.cfg.Name })},
			{Name: "Alias", Type: "s", Get: adapterString((*adapter).alias), Set: setAdapterAlias},
			{Name: "Class", Type: "u", Get: adapterUint32(func(*adapter) uint32 { return 0 })},
			{Name: "Connectable", Type: "b", Get: adapterBool(func(a *adapter) bool { return a.connectable }), Set: setConnectable},
			{Name: "Powered", Type: "b", Get: adapterBool(func(a *adapter) bool { return a.powered }), Set: setPowered},
			{Name: "PowerState", Type: "s", Get: adapterString(func(a *adapter) string { return a.powerState })},
			{Name: "Discoverable", Type: "b", Get: adapterBool(func(a *adapter) bool { return a.discoverable }), Set: setDiscoverable},
			{Name: "DiscoverableTimeout", Type: "u", Get: adapterUint32(func(a *adapter) uint32 { return a.st.DiscoverableTimeout }), Set: setDiscoverableTimeout},
			{Name: "Pairable", Type: "b", Get: adapterBool(func(a *adapter) bool { return a.pairable }), Set: setPairable},
			{Name: "PairableTimeout", Type: "u", Get: adapterUint32(func(a *adapter) uint32 { return a.st.PairableTimeout }), Set: setPairableTimeout},
			{Name: "Discovering", Type: "b", Get: adapterBool(func(a *adapter) bool { return a.discovering })},
			{Name: "UUIDs", Type: "as", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Strings(adapterUUIDs) }},
			{Name: "Modalias", Type: "s", Get: adapterString(func(*adapter) string { return bluezModalias })},
			{Name: "Roles", Type: "as", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Strings(adapterRoles) }},
			{
				Name: "ExperimentalFeatures", Type: "as", Exists: func(*dbusobj.Object) bool { return false },
				Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Strings(nil) },
			},
			{Name: "Manufacturer", Type: "q", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Uint16(espressifCompany) }},
			{Name: "Version", Type: "y", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Byte(bluetoothCore50) }},
		},
	}
}

// adapterUUIDs are the services that every BlueZ adapter shows of its own: GATT and GAP.
var adapterUUIDs = []string{ble.UUID16(0x1801).String(), ble.UUID16(0x1800).String()}

// adapterRoles promises only what a proxy can do.
var adapterRoles = []string{"central"}

func setAdapterAlias(o *dbusobj.Object, v any, c *dbusobj.Call) {
	a, alias := ofAdapter(o), cutAlias(v.(string))
	if alias != a.alias() || alias == "" {
		before := a.alias()
		a.st.Alias = alias
		if alias == a.cfg.Name {
			a.st.Alias = ""
		}
		a.save()
		if a.alias() != before {
			a.changed("Alias")
		}
	}
	c.Reply()
}

func setConnectable(o *dbusobj.Object, v any, c *dbusobj.Call) {
	a, on := ofAdapter(o), v.(bool)
	c.Reply()
	if a.connectable == on {
		return
	}
	a.connectable = on
	a.changed("Connectable")
	if !on && a.discoverable {
		a.setDiscoverable(false)
	}
}

func setDiscoverable(o *dbusobj.Object, v any, c *dbusobj.Call) {
	a, on := ofAdapter(o), v.(bool)
	switch {
	case a.discoverable == on:
		c.Reply()
	case on && !a.powered && a.st.DiscoverableTimeout > 0:
		errFailed("Not Powered").to(c)
	default:
		c.Reply()
		a.setDiscoverable(on)
	}
}

func setDiscoverableTimeout(o *dbusobj.Object, v any, c *dbusobj.Call) {
	a := ofAdapter(o)
	a.st.DiscoverableTimeout = v.(uint32)
	a.save()
	c.Reply()
	a.changed("DiscoverableTimeout")
	if a.discoverable {
		a.restartDiscoverableTimer()
	}
}

func setPairable(o *dbusobj.Object, v any, c *dbusobj.Call) {
	a, on := ofAdapter(o), v.(bool)
	c.Reply()
	a.setPairable(on)
}

func setPairableTimeout(o *dbusobj.Object, v any, c *dbusobj.Call) {
	a := ofAdapter(o)
	a.st.PairableTimeout = v.(uint32)
	a.save()
	c.Reply()
	a.changed("PairableTimeout")
}
