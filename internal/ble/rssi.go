package ble

// Values that stand for an RSSI that nobody measured, in dBm.
const (
	// WeakestRSSI is the least that Bluetooth knows. It stands for an unknown RSSI where that has to come last: in a filter,
	// among paths.
	WeakestRSSI = -127
	// NoRSSI is how a controller says that it has none (Bluetooth Core, Vol 4 Part E, 7.7.65.2).
	NoRSSI = 127

	strongestRSSI = 20
)

// KnownRSSI reports whether an RSSI, in dBm, was measured. A controller measures -127…20 and says 127 for "not available"
// (Bluetooth Core, Vol 4 Part E, 7.7.65.2); the ESPHome native API has 0 and -127 for an unknown one; bluetoothd shows no 0
// (bluetoothd 5.87, org.bluez.Device RSSI). What no controller can measure is unknown, too.
func KnownRSSI[T int8 | int16 | int](rssi T) bool {
	return rssi > WeakestRSSI && rssi <= strongestRSSI && rssi != 0
}
