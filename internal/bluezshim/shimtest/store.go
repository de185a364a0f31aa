package shimtest

import (
	"maps"
	"sync"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
)

// Store is a bluezshim.Store in memory.
type Store struct {
	mu       sync.Mutex
	adapters map[int]bluezshim.AdapterState
	devices  map[ble.Address]bluezshim.DeviceState
}

// NewStore returns a store without devices; its adapters have BlueZ's time-out of 180 s.
func NewStore() *Store {
	return &Store{adapters: map[int]bluezshim.AdapterState{}, devices: map[ble.Address]bluezshim.DeviceState{}}
}

// Adapter implements bluezshim.Store, as do the methods after it.
func (s *Store) Adapter(index int) bluezshim.AdapterState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st, ok := s.adapters[index]; ok {
		return st
	}
	return bluezshim.AdapterState{DiscoverableTimeout: 180}
}

func (s *Store) SetAdapter(index int, st bluezshim.AdapterState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adapters[index] = st
}

func (s *Store) Device(a ble.Address) (bluezshim.DeviceState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.devices[a]
	return st, ok
}

func (s *Store) SetDevice(a ble.Address, st bluezshim.DeviceState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices[a] = st
}

func (s *Store) DeleteDevice(a ble.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.devices, a)
}

func (s *Store) Devices(f func(ble.Address, bluezshim.DeviceState)) {
	s.mu.Lock()
	list := maps.Clone(s.devices)
	s.mu.Unlock()
	for a, st := range list {
		f(a, st)
	}
}

var _ bluezshim.Store = (*Store)(nil)
