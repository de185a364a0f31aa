package apiserver

import (
	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

const (
	// ServicesSize is about how large one message 71 may become, in bytes (2025.8 and
	// later); only a single service is larger.
	ServicesSize = 1360
	// shortUUIDMinor is the client's API version from which on UUIDs may be short.
	shortUUIDMinor = 12
)

// What the firmware takes a service for before it has encoded it, in bytes (esphome-contract §11.10).
const (
	estimatedService        = 25
	estimatedShortService   = 10 // with short UUIDs
	estimatedCharacteristic = 60
)

// ServiceBatches splits services into the messages 71 that Services sends: whole services, each message up to limit
// bytes unless a single service is larger; a limit of 0 means one service to a message, as before 2025.8. As in the
// firmware, a service has to fit by its estimate, which is large for many characteristics, and by its real size. Short
// says that UUIDs may be sent in their short form.
func ServiceBatches(services []ble.Service, limit int, short bool) [][]ble.Service {
	var out [][]ble.Service
	start, size := 0, 0
	for i := range services {
		n := proto.Size(&apipb.BluetoothGATTGetServicesResponse{
			Services: []*apipb.BluetoothGATTService{wireService(&services[i], short)},
		})
		if i > start && size+max(n, estimate(&services[i], short)) > limit {
			out = append(out, services[start:i])
			start, size = i, 0
		}
		size += n
	}
	if start < len(services) {
		out = append(out, services[start:])
	}
	return out
}

func estimate(s *ble.Service, short bool) int {
	n := estimatedService
	if short {
		n = estimatedShortService
	}
	return n + estimatedCharacteristic*len(s.Characteristics)
}

// ShortUUIDs reports whether the client takes short UUIDs.
func (s *Session) ShortUUIDs() bool {
	_, minor := s.ClientVersion()
	return minor >= shortUUIDMinor
}

// Services sends one message 71. Short is as in ServiceBatches.
func (s *Session) Services(a ble.Address, services []ble.Service, short bool) {
	m := &apipb.BluetoothGATTGetServicesResponse{Address: uint64(a)}
	for i := range services {
		m.Services = append(m.Services, wireService(&services[i], short))
	}
	s.send(m)
}

func wireService(s *ble.Service, short bool) *apipb.BluetoothGATTService {
	m := &apipb.BluetoothGATTService{Handle: uint32(s.Handle)}
	m.Uuid, m.ShortUuid = wireUUID(s.UUID, short)
	for _, c := range s.Characteristics {
		mc := &apipb.BluetoothGATTCharacteristic{Handle: uint32(c.ValueHandle), Properties: uint32(c.Properties)}
		mc.Uuid, mc.ShortUuid = wireUUID(c.UUID, short)
		for _, d := range c.Descriptors {
			md := &apipb.BluetoothGATTDescriptor{Handle: uint32(d.Handle)}
			md.Uuid, md.ShortUuid = wireUUID(d.UUID, short)
			mc.Descriptors = append(mc.Descriptors, md)
		}
		m.Characteristics = append(m.Characteristics, mc)
	}
	return m
}

// wireUUID gives the two halves or the short form. Nothing at all means the UUID of zeros.
func wireUUID(u ble.UUID, short bool) ([]uint64, uint32) {
	if v, ok := u.Short(); short && ok && v != 0 {
		return nil, v
	}
	if u == (ble.UUID{}) {
		return nil, 0
	}
	high, low := u.Halves()
	return []uint64{high, low}, 0
}
