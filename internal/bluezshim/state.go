package bluezshim

import "bluez-esphome/internal/ble"

// Store keeps what outlives a run. Its methods are goroutine-safe and do not block on the disk.
type Store interface {
	Adapter(index int) AdapterState
	SetAdapter(index int, s AdapterState)
	Device(a ble.Address) (DeviceState, bool)
	SetDevice(a ble.Address, s DeviceState)
	DeleteDevice(a ble.Address)
	// Devices calls f for every stored device.
	Devices(f func(ble.Address, DeviceState))
}

// AdapterState is the remembered part of an adapter.
type AdapterState struct {
	Alias               string // "" is the adapter's name
	Off                 bool   // Powered was set to false
	DiscoverableTimeout uint32 // seconds
	PairableTimeout     uint32 // seconds
}

// DeviceState is the remembered part of a device.
type DeviceState struct {
	Type       ble.AddressType
	Name       string
	Alias      string // "" is the name
	Appearance uint16
	Modalias   string
	Trusted    bool
	Blocked    bool
	Bonded     bool
	UUIDs      []ble.UUID // of a bonded device: what it had when last resolved
}
