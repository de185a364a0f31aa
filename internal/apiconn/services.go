package apiconn

import (
	"errors"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

var errBadHandle = errors.New("the GATT database has a handle that is not from 1 to 65535")

// serviceFrom converts one service and counts its attributes.
func serviceFrom(m *apipb.BluetoothGATTService) (s ble.Service, attributes int, err error) {
	s = ble.Service{Handle: uint16(m.GetHandle()), UUID: wireToUUID(m.GetUuid(), m.GetShortUuid())}
	attributes = 1
	bad := badHandle(m.GetHandle())
	for _, cm := range m.GetCharacteristics() {
		c := ble.Characteristic{
			ValueHandle: uint16(cm.GetHandle()), UUID: wireToUUID(cm.GetUuid(), cm.GetShortUuid()),
			Properties: ble.Properties(cm.GetProperties()),
		}
		bad = bad || badHandle(cm.GetHandle())
		attributes += 1 + len(cm.GetDescriptors())
		for _, dm := range cm.GetDescriptors() {
			bad = bad || badHandle(dm.GetHandle())
			c.Descriptors = append(c.Descriptors, ble.Descriptor{
				Handle: uint16(dm.GetHandle()), UUID: wireToUUID(dm.GetUuid(), dm.GetShortUuid()),
			})
		}
		s.Characteristics = append(s.Characteristics, c)
	}
	if bad {
		return s, attributes, errBadHandle
	}
	return s, attributes, nil
}

func badHandle(h uint32) bool { return h == 0 || h > 0xffff }

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
