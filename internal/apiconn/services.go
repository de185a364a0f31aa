package apiconn

import (
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// serviceFrom converts one service and counts its attributes. An entry with an invalid handle (Bluetooth Core, Vol 3
// Part F, 3.2.2: valid are 1 to 0xffff) keeps its place with handle 0; whoever makes a database of the list drops it
// and says so.
func serviceFrom(m *apipb.BluetoothGATTService) (s ble.Service, attributes int) {
	s = ble.Service{Handle: wireToHandle(m.GetHandle()), UUID: wireToUUID(m.GetUuid(), m.GetShortUuid())}
	attributes = 1
	for _, cm := range m.GetCharacteristics() {
		c := ble.Characteristic{
			ValueHandle: wireToHandle(cm.GetHandle()), UUID: wireToUUID(cm.GetUuid(), cm.GetShortUuid()),
			Properties: ble.Properties(cm.GetProperties()),
		}
		attributes += 1 + len(cm.GetDescriptors())
		for _, dm := range cm.GetDescriptors() {
			c.Descriptors = append(c.Descriptors, ble.Descriptor{
				Handle: wireToHandle(dm.GetHandle()), UUID: wireToUUID(dm.GetUuid(), dm.GetShortUuid()),
			})
		}
		s.Characteristics = append(s.Characteristics, c)
	}
	return s, attributes
}

// wireToHandle is a handle of the wire, which has 32 bits, or 0 if it is out of range.
func wireToHandle(h uint32) uint16 {
	if h > 0xffff {
		return 0
	}
	return uint16(h)
}

// wireToUUID reads a UUID: the short form has precedence; one element of the long
// form means that its low half is zero, none the all-zero UUID.
func wireToUUID(halves []uint64, short uint32) ble.UUID {
	switch {
	case short != 0:
		return ble.UUID32(short)
	case len(halves) >= 2:
		return ble.UUIDFromHalves(halves[0], halves[1])
	case len(halves) == 1:
		return ble.UUIDFromHalves(halves[0], 0)
	}
	return ble.UUID{}
}
