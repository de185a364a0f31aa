package load

import (
	"encoding/binary"
	"slices"
	"time"

	"bluez-esphome/internal/apiwire/apipb"

	"google.golang.org/protobuf/proto"
)

// Handles of the device that can be connected to.
const (
	serviceHandle = 1
	ValueHandle   = 3
	ticksHandle   = 5
	cccdHandle    = 6
)

// value is what reading gives.
var value = []byte("twenty bytes to read")

// linkTime is how long a link takes to come up: no radio is faster than an advertising interval and a connection
// interval.
const linkTime = 10 * time.Millisecond

// gatt answers what concerns the one device: at once, but for a new link.
func (s *session) gatt(m proto.Message) error {
	switch m := m.(type) {
	case *apipb.BluetoothDeviceRequest:
		switch m.GetRequestType() {
		case apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITH_CACHE,
			apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE:
			s.unlink(m.GetAddress())
			there := isThere(m.GetAddress())
			if there || s.advertises { // ESPHome 2026.8 and later gives a client that does not subscribe no slot for an attempt
				s.links = append(s.links, m.GetAddress())
			}
			if !there {
				return nil // the attempt goes on until it is called off
			}
			<-time.After(linkTime)
			return s.send(&apipb.BluetoothDeviceConnectionResponse{Address: m.GetAddress(), Connected: true, Mtu: 247})
		case apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_DISCONNECT:
			s.unlink(m.GetAddress())
			return s.send(&apipb.BluetoothDeviceConnectionResponse{Address: m.GetAddress()})
		case apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CLEAR_CACHE:
			return s.send(&apipb.BluetoothDeviceClearCacheResponse{Address: m.GetAddress(), Success: true})
		}
	case *apipb.BluetoothGATTGetServicesRequest:
		if err := s.send(services(m.GetAddress())); err != nil {
			return err
		}
		return s.send(&apipb.BluetoothGATTGetServicesDoneResponse{Address: m.GetAddress()})
	case *apipb.BluetoothGATTReadRequest:
		// A client that hears nothing asks for a device that is not there: only the subscriber gets an answer.
		if !isThere(m.GetAddress()) {
			return s.send(&apipb.BluetoothGATTErrorResponse{Address: m.GetAddress(), Handle: m.GetHandle(), Error: notConnected})
		}
		return s.send(&apipb.BluetoothGATTReadResponse{Address: m.GetAddress(), Handle: m.GetHandle(), Data: value})
	case *apipb.BluetoothGATTReadDescriptorRequest:
		return s.send(&apipb.BluetoothGATTReadResponse{Address: m.GetAddress(), Handle: m.GetHandle(), Data: []byte{0, 0}})
	case *apipb.BluetoothGATTWriteRequest:
		if m.GetResponse() {
			return s.send(&apipb.BluetoothGATTWriteResponse{Address: m.GetAddress(), Handle: m.GetHandle()})
		}
	case *apipb.BluetoothGATTWriteDescriptorRequest:
		return s.send(&apipb.BluetoothGATTWriteResponse{Address: m.GetAddress(), Handle: m.GetHandle()})
	case *apipb.BluetoothGATTNotifyRequest:
		return s.send(&apipb.BluetoothGATTNotifyResponse{Address: m.GetAddress(), Handle: m.GetHandle()})
	case *apipb.BluetoothSetConnectionParamsRequest:
		return s.send(&apipb.BluetoothSetConnectionParamsResponse{Address: m.GetAddress()})
	}
	return nil
}

// notConnected is the error with which the firmware answers for a device without a link.
const notConnected = -1

// slots is the number of links that a proxy may have.
const slots = 3

// isThere reports whether an address is that of one of the load's devices.
func isThere(a uint64) bool { return a>>32 == address>>32 }

func (s *session) unlink(a uint64) {
	s.links = slices.DeleteFunc(s.links, func(b uint64) bool { return a == b })
}

func services(address uint64) proto.Message {
	uuid := func(n uint64) []uint64 { return []uint64{0xb1e500006d5e4c1b | n<<32, 0x9e3a1f0c2d3e4f50} }
	return &apipb.BluetoothGATTGetServicesResponse{Address: address, Services: []*apipb.BluetoothGATTService{{
		Uuid: uuid(1), Handle: serviceHandle,
		Characteristics: []*apipb.BluetoothGATTCharacteristic{
			{Uuid: uuid(2), Handle: ValueHandle, Properties: 0x02},
			{Uuid: uuid(4), Handle: ticksHandle, Properties: 0x10, Descriptors: []*apipb.BluetoothGATTDescriptor{
				{Uuid: []uint64{0x0000290200001000, 0x800000805f9b34fb}, Handle: cccdHandle},
			}},
		},
	}}}
}

// notify sends notifications of Ticks: each is 20 bytes, the first four a counter.
func (l *Load) notify(count int) Answer {
	p := l.proxies[0]
	m := &apipb.BluetoothGATTNotifyDataResponse{Address: address, Handle: ticksHandle, Data: make([]byte, 20)}
	err := p.to.write(func(b []byte) (_ []byte, err error) {
		for range count {
			l.ticks++
			binary.BigEndian.PutUint32(m.Data, l.ticks)
			b, err = p.to.framer.AppendMessage(b, m)
			if err != nil {
				return b, err
			}
		}
		return b, nil
	})
	if err != nil {
		return Answer{Error: err.Error()}
	}
	return Answer{Count: count}
}
