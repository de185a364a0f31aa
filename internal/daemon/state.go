package daemon

import (
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/store"
)

// shimStore is the state as the shim wants it.
type shimStore struct{ *store.Store }

func (s shimStore) Adapter(index int) bluezshim.AdapterState {
	return bluezshim.AdapterState(s.Store.Adapter(index))
}

func (s shimStore) SetAdapter(index int, st bluezshim.AdapterState) {
	s.Store.SetAdapter(index, store.AdapterState(st))
}

func (s shimStore) Device(a ble.Address) (bluezshim.DeviceState, bool) {
	st, ok := s.Store.Device(a)
	return bluezshim.DeviceState(st), ok
}

func (s shimStore) SetDevice(a ble.Address, st bluezshim.DeviceState) {
	s.Store.SetDevice(a, store.DeviceState(st))
}

func (s shimStore) Devices(f func(ble.Address, bluezshim.DeviceState)) {
	s.Store.Devices(func(a ble.Address, st store.DeviceState) { f(a, bluezshim.DeviceState(st)) })
}

// gattStore is the state as gatt wants it. Records of earlier versions have names of proxies in place of their IDs; id
// gives the ID that a name means now.
type gattStore struct {
	store *store.Store
	id    func(name string) string
}

func (s gattStore) Load(a ble.Address) (gatt.Record, bool) {
	st, ok := s.store.Gatt(a)
	st.Bonded, st.Last, st.Armed = s.id(st.Bonded), s.id(st.Last), s.id(st.Armed)
	return gatt.Record(st), ok
}

func (s gattStore) Save(a ble.Address, r gatt.Record) { s.store.SetGatt(a, store.GattState(r)) }

func (s gattStore) Unpairs(proxy string) []ble.Address {
	s.store.MoveUnpairs(func(name string) bool { return name != proxy && s.id(name) == proxy }, proxy)
	return s.store.Unpairs(proxy)
}

func (s gattStore) SetUnpair(proxy string, a ble.Address, pending bool) {
	s.store.SetUnpair(proxy, a, pending)
}
