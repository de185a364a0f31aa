package store

import (
	"errors"
	"fmt"

	"bluez-esphome/internal/ble"
)

const (
	maxControllers = 256
	// maxPeers bounds what is kept of the peripherals of one controller.
	maxPeers = 1 << 12
)

// controllerState is what is kept of one virtual controller. Peers is not modified but replaced.
type controllerState struct {
	Address ble.Address                    `json:"address"`
	Peers   map[ble.Address]ControllerPeer `json:"peers,omitempty"`
}

// ControllerPeer is what the host of a virtual controller knows of one peripheral.
type ControllerPeer struct {
	// Key is that of the pairing with the host, nil: none. It protects nothing in the air, and is not modified.
	Key *ble.HostKey `json:"key,omitempty"`
	// Seen is what the host was told of the peripheral's database.
	Seen ble.Seen `json:"seen,omitzero"`
}

// checkControllers looks for what is never written.
func (s *state) checkControllers() error {
	for key, c := range s.Controllers {
		if c.Address>>40&0x03 != 0x02 {
			return fmt.Errorf("the address of controller %q is missing or not locally administered", key)
		}
		if len(c.Peers) > maxPeers {
			return errors.New("more entries than are ever written")
		}
	}
	return nil
}

// Controller gives the address of the virtual controller with that key, made once: random and locally administered.
// Where there are too many it is another one in each run, which is an error.
func (s *Store) Controller(key string) (ble.Address, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.st.Controllers[key]; ok {
		return c.Address, nil
	}
	a, err := newAddress()
	if err != nil {
		return 0, err
	}
	if len(s.st.Controllers) >= maxControllers {
		return a, fmt.Errorf("the address of controller %q is not kept: there are %d others", key, maxControllers)
	}
	if s.st.Controllers == nil {
		s.st.Controllers = map[string]controllerState{}
	}
	s.st.Controllers[key] = controllerState{Address: a}
	s.touch()
	return a, nil
}

// ControllerPeer gives what the host of a controller knows of a peripheral; nothing in it is to be modified.
func (s *Store) ControllerPeer(key string, a ble.Address) (ControllerPeer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.st.Controllers[key].Peers[a]
	return p, ok
}

// ChangeControllerPeer has change work on what is kept of a peripheral. change must not call the Store. Beyond 4096
// peripherals one without a key makes room, or nothing is kept.
func (s *Store) ChangeControllerPeer(key string, a ble.Address, change func(*ControllerPeer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.st.Controllers[key]
	if !ok {
		return
	}
	peers := cloneMap(c.Peers)
	if _, known := peers[a]; !known && len(peers) >= maxPeers && !makeRoom(peers) {
		s.log.Warn("What a controller's host knows of a device is not kept: too many others are paired", "controller", key, "device", a, "limit", maxPeers)
		return
	}
	p := peers[a]
	change(&p)
	peers[a] = p
	c.Peers = peers
	s.st.Controllers[key] = c
	s.touch()
}

// makeRoom drops a peripheral without a key.
func makeRoom(peers map[ble.Address]ControllerPeer) bool {
	for a, p := range peers {
		if p.Key == nil {
			delete(peers, a)
			return true
		}
	}
	return false
}
