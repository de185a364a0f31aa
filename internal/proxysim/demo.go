package proxysim

import _ "embed" // for demo.json

//go:embed demo.json
var demoFile []byte

// DemoPeripherals are the devices of the demo: a heart-rate sensor, a
// thermometer and a lock to connect to, a RuuviTag, an iBeacon, a BTHome sensor and an
// Eddystone beacon to listen to. The proxies "kitchen" and "garage" hear them differently
// well, and some not at all; other proxies hear them all.
func DemoPeripherals() ([]DeviceSpec, error) { return ParsePeripherals(demoFile) }
