package apiserver

import (
	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// ErrorNotConnected is what error fields carry when the device has no such link.
const ErrorNotConnected int32 = -1

// send queues m as the firmware encodes it; if there is no room the session ends.
func (s *Session) send(m proto.Message) { s.put(m, reliable) }

func (s *Session) put(m proto.Message, c class) {
	payload, err := apiwire.MarshalFirmware(m)
	if err != nil {
		s.cancel(err)
		return
	}
	s.enqueue(message{id: apiwire.IDOf(m), payload: payload, class: c})
}

func (s *Session) sendEmpty(id ID) { s.enqueue(message{id: id}) }

func (s *Session) enqueue(m message) {
	if !s.queue.put(m) {
		s.cancel(ErrOverflow)
	}
}

// ScannerStatus is what message 126 says.
type ScannerStatus struct {
	State ble.ScannerState
	Mode  ble.ScannerMode
	// Configured is the mode of the device's configuration (2025.9 and later; passive before).
	Configured ble.ScannerMode
}

// Scanner sends message 126.
func (s *Session) Scanner(st ScannerStatus) {
	s.send(&apipb.BluetoothScannerStateResponse{
		State:          apipb.BluetoothScannerState(st.State),
		Mode:           apipb.BluetoothScannerMode(st.Mode),
		ConfiguredMode: apipb.BluetoothScannerMode(st.Configured),
	})
}

// Slots sends message 81; without HasAllocated, as before 2025.2, there is no list.
func (s *Session) Slots(sl ble.Slots) {
	m := &apipb.BluetoothConnectionsFreeResponse{Free: uint32(sl.Free), Limit: uint32(sl.Limit)}
	if sl.HasAllocated {
		for _, a := range sl.Allocated {
			if a != 0 {
				m.Allocated = append(m.Allocated, uint64(a))
			}
		}
	}
	s.send(m)
}

// Connection sends message 69. Code is 0, or the HCI, GATT or other code with which a link or an
// attempt ended.
func (s *Session) Connection(a ble.Address, connected bool, mtu uint16, code int32) {
	s.send(&apipb.BluetoothDeviceConnectionResponse{
		Address: uint64(a), Connected: connected, Mtu: uint32(mtu), Error: code,
	})
}

// ServicesDone sends message 72.
func (s *Session) ServicesDone(a ble.Address) {
	s.send(&apipb.BluetoothGATTGetServicesDoneResponse{Address: uint64(a)})
}

// ReadData sends message 74.
func (s *Session) ReadData(a ble.Address, handle uint16, data []byte) {
	s.send(&apipb.BluetoothGATTReadResponse{Address: uint64(a), Handle: uint32(handle), Data: data})
}

// Written sends message 83.
func (s *Session) Written(a ble.Address, handle uint16) {
	s.send(&apipb.BluetoothGATTWriteResponse{Address: uint64(a), Handle: uint32(handle)})
}

// NotifySet sends message 84.
func (s *Session) NotifySet(a ble.Address, handle uint16) {
	s.send(&apipb.BluetoothGATTNotifyResponse{Address: uint64(a), Handle: uint32(handle)})
}

// NotifyData sends message 79, which may be lost.
func (s *Session) NotifyData(a ble.Address, handle uint16, data []byte) {
	s.put(&apipb.BluetoothGATTNotifyDataResponse{Address: uint64(a), Handle: uint32(handle), Data: data}, notification)
}

// GATTError sends message 82: an ATT error, a code of the stack, or ErrorNotConnected.
func (s *Session) GATTError(a ble.Address, handle uint16, code int32) {
	s.send(&apipb.BluetoothGATTErrorResponse{Address: uint64(a), Handle: uint32(handle), Error: code})
}

// Paired sends message 85.
func (s *Session) Paired(a ble.Address, paired bool, code int32) {
	s.send(&apipb.BluetoothDevicePairingResponse{Address: uint64(a), Paired: paired, Error: code})
}

// Unpaired sends message 86.
func (s *Session) Unpaired(a ble.Address, success bool, code int32) {
	s.send(&apipb.BluetoothDeviceUnpairingResponse{Address: uint64(a), Success: success, Error: code})
}

// CacheCleared sends message 88.
func (s *Session) CacheCleared(a ble.Address, success bool, code int32) {
	s.send(&apipb.BluetoothDeviceClearCacheResponse{Address: uint64(a), Success: success, Error: code})
}

// ConnectionParamsSet sends message 146.
func (s *Session) ConnectionParamsSet(a ble.Address, code int32) {
	s.send(&apipb.BluetoothSetConnectionParamsResponse{Address: uint64(a), Error: code})
}

// KeySet sends message 125: whether the key that the client set is taken.
func (s *Session) KeySet(ok bool) {
	s.send(&apipb.NoiseEncryptionSetKeyResponse{Success: ok})
}
