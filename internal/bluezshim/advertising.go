package bluezshim

import "bluez-esphome/internal/dbusobj"

// legacyAdvertisement is how many bytes an advertisement and a scan response hold (Bluetooth Core, Vol 6 Part B,
// 2.3.1).
const legacyAdvertisement = 31

// The transmission power of an ESP32 in dBm (ESP-IDF, esp_power_level_t).
const (
	minTxPower = -12
	maxTxPower = 9
)

// newAdvertisingManagerInterface makes org.bluez.LEAdvertisingManager1 of bluetoothd 5.87, as of a controller with no
// advertising instance to give: clients expect it on every adapter (bluer reads it among the adapter's properties), and
// a proxy cannot advertise.
func newAdvertisingManagerInterface() *dbusobj.Interface {
	zero := func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Byte(0) }
	none := func(_ *dbusobj.Object, e *dbusobj.Encoder) { e.Strings(nil) }
	return &dbusobj.Interface{
		Name: "org.bluez.LEAdvertisingManager1",
		Methods: []dbusobj.Method{
			{
				Name: "RegisterAdvertisement", In: []dbusobj.Arg{{Name: "advertisement", Type: "o"}, {Name: "options", Type: "a{sv}"}},
				Call: func(c *dbusobj.Call) { errNotPermitted("Maximum advertisements reached").to(c) },
			},
			{
				Name: "UnregisterAdvertisement", In: []dbusobj.Arg{{Name: "service", Type: "o"}},
				Call: func(c *dbusobj.Call) { errDoesNotExist.to(c) },
			},
		},
		Properties: []dbusobj.Property{
			{Name: "ActiveInstances", Type: "y", Get: zero},
			{Name: "SupportedInstances", Type: "y", Get: zero},
			{Name: "SupportedIncludes", Type: "as", Get: none},
			{Name: "SupportedSecondaryChannels", Type: "as", Exists: func(*dbusobj.Object) bool { return false }, Get: none},
			{Name: "SupportedFeatures", Type: "as", Get: none},
			// As of a controller without extended advertising (bluetoothd 5.87, recorded); bluer wants all four.
			{Name: "SupportedCapabilities", Type: "a{sv}", Get: func(_ *dbusobj.Object, e *dbusobj.Encoder) {
				size := func() { e.Byte(legacyAdvertisement) }
				power := func(dBm int16) func() { return func() { e.Int16(dBm) } }
				e.Array("{sv}", func() {
					e.Entry(func() { e.String("MaxAdvLen"); e.Variant("y", size) })
					e.Entry(func() { e.String("MaxScnRspLen"); e.Variant("y", size) })
					e.Entry(func() { e.String("MinTxPower"); e.Variant("n", power(minTxPower)) })
					e.Entry(func() { e.String("MaxTxPower"); e.Variant("n", power(maxTxPower)) })
				})
			}},
		},
	}
}
