package store

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"bluez-esphome/internal/ble"
)

// version is the format of all files. A file of another version is set aside, not guessed at.
const version = 1

// Limits of what is kept and read back: far above any real use, so that neither the
// air nor a foreign file can exhaust memory.
const (
	maxDevices   = 1 << 16
	maxProxies   = 1 << 12
	maxUnpairs   = 1 << 12
	maxStateFile = 64 << 20 // bytes
	maxGattFile  = 1 << 20  // bytes
	maxGattFiles = 1 << 12  // the oldest go first
)

// AdapterState is the remembered part of an adapter.
type AdapterState struct {
	Alias               string `json:"alias,omitempty"`      // "" is the adapter's name
	Off                 bool   `json:"off,omitempty"`        // Powered was set to false
	DiscoverableTimeout uint32 `json:"discoverable_timeout"` // seconds
	PairableTimeout     uint32 `json:"pairable_timeout"`     // seconds
}

// newAdapter is what an adapter is before anybody changed it: bluetoothd 5.87's defaults.
var newAdapter = AdapterState{DiscoverableTimeout: 180}

// DeviceState is the remembered part of a device.
type DeviceState struct {
	Type       ble.AddressType `json:"type"` // ESPHome native API, address_type
	Name       string          `json:"name,omitempty"`
	Alias      string          `json:"alias,omitempty"` // "" is the name
	Appearance uint16          `json:"appearance,omitempty"`
	Modalias   string          `json:"modalias,omitempty"`
	Trusted    bool            `json:"trusted,omitempty"`
	Blocked    bool            `json:"blocked,omitempty"`
	Bonded     bool            `json:"bonded,omitempty"`
	UUIDs      []ble.UUID      `json:"uuids,omitempty"` // of a bonded device: what it had when last resolved
}

// GattState is what is remembered of one peripheral's GATT database.
type GattState struct {
	// Database is the last known database, nil if none. It is not modified.
	Database *ble.Database `json:"database,omitempty"`
	// Complete: Database was confirmed and may be used without asking the peripheral again.
	Complete bool `json:"complete,omitempty"`
	// Hash is the value of the Database Hash characteristic for Database.
	Hash []byte `json:"hash,omitempty"`
	// Name and Advertised are what the device said in the air when Database was learned.
	Name       string     `json:"name,omitempty"`
	Advertised []ble.UUID `json:"advertised,omitempty"`
	// Armed is the ID of the proxy of the bond for which Service Changed is enabled, "" if none.
	Armed string `json:"armed,omitempty"`
	// MTU is the ATT_MTU that was negotiated through each proxy, by its ID.
	MTU map[string]int `json:"mtu,omitempty"`
	// Bonded is the ID of the proxy that holds the bond, "" if none. Before IDs it was its name.
	Bonded string `json:"bonded,omitempty"`
	// BondedBy is the party that made the bond, "" if that is not known.
	BondedBy string `json:"bonded_by,omitempty"`
	// Stale: Database was found wrong; the proxy's own cache is to be cleared as well.
	Stale bool `json:"stale,omitempty"`
	// Last is the ID of the proxy of the last link.
	Last string `json:"last,omitempty"`
}

// proxyState is the numbers given to one proxy, 0 means none yet, and what it said of itself.
type proxyState struct {
	Adapter int `json:"adapter,omitempty"` // N of hciN, 1…8
	Share   int `json:"share,omitempty"`   // from 1; the port is the base port plus Share - 1
	// Used is the day on which it was last online, in days since 1970; 0 is unknown.
	Used int `json:"used,omitempty"`
	ProxyInfo
}

// ProxyInfo is what a proxy last said, so that its adapter is there before it is online again, and so that its name,
// its place in the configuration and its MAC belong together.
type ProxyInfo struct {
	Name      string      `json:"name,omitempty"`
	Endpoint  string      `json:"endpoint,omitempty"` // where it was reached, host:port
	Bluetooth ble.Address `json:"bluetooth,omitzero"` // the adapter's address
}

// state is state.json.
type state struct {
	Version  int                         `json:"version"`
	Address  ble.Address                 `json:"adapter_address"`
	Adapters map[int]AdapterState        `json:"adapters"`
	Devices  map[ble.Address]DeviceState `json:"devices"`
	Proxies  map[ble.Address]proxyState  `json:"proxies"`
	// Controllers has the virtual controllers, by what tells them apart.
	Controllers map[string]controllerState `json:"controllers,omitempty"`
	// Unpair has, by a proxy's ID, the devices whose bond it is yet to drop. No slice is modified.
	Unpair map[string][]ble.Address `json:"unpair,omitempty"`
}

// gattFile is gatt/ADDRESS.json.
type gattFile struct {
	Version int         `json:"version"`
	Address ble.Address `json:"address"`
	GattState
}

func newState() (*state, error) {
	a, err := newAddress()
	return &state{
		Version: version, Address: a, Adapters: map[int]AdapterState{},
		Devices: map[ble.Address]DeviceState{}, Proxies: map[ble.Address]proxyState{}, Unpair: map[string][]ble.Address{},
	}, err
}

// newAddress makes a random unicast address with the locally-administered bit set
// (IEEE 802, 8.2), which no manufacturer's device has.
func newAddress() (ble.Address, error) {
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("cannot make an adapter address: %w", err)
	}
	b[0] = b[0]&^0x01 | 0x02
	var a ble.Address
	for _, o := range b {
		a = a<<8 | ble.Address(o)
	}
	return a, nil
}

// decodeState reads state.json.
func decodeState(b []byte) (*state, error) {
	s, err := newState()
	if err != nil {
		return nil, err
	}
	s.Version, s.Address = 0, 0
	if err := unmarshal(b, s); err != nil {
		return nil, err
	}
	switch {
	case s.Version != version:
		return nil, versionError(s.Version)
	case s.Address>>40&0x03 != 0x02:
		return nil, errors.New("adapter_address is missing or not locally administered")
	case len(s.Devices) > maxDevices || len(s.Proxies) > maxProxies || len(s.Adapters) > maxProxies || s.unpairs() > maxUnpairs,
		len(s.Controllers) > maxControllers:
		return nil, errors.New("more entries than are ever written")
	}
	// JSON null empties a map.
	if s.Adapters == nil {
		s.Adapters = map[int]AdapterState{}
	}
	if s.Devices == nil {
		s.Devices = map[ble.Address]DeviceState{}
	}
	if s.Proxies == nil {
		s.Proxies = map[ble.Address]proxyState{}
	}
	if s.Unpair == nil {
		s.Unpair = map[string][]ble.Address{}
	}
	return s, s.checkControllers()
}

// decodeGatt reads gatt/ADDRESS.json.
func decodeGatt(b []byte, a ble.Address) (GattState, error) {
	var g gattFile
	if err := unmarshal(b, &g); err != nil {
		return GattState{}, err
	}
	if g.Version != version {
		return GattState{}, versionError(g.Version)
	}
	if g.Address != a {
		return GattState{}, fmt.Errorf("it is about %v", g.Address)
	}
	return g.GattState, nil
}

func unmarshal(b []byte, v any) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return errors.New("it is empty")
	}
	return json.Unmarshal(b, v)
}

func versionError(v int) error {
	return fmt.Errorf("it has format version %d, this program reads %d", v, version)
}

func (s *state) clone() *state {
	c := *s
	c.Adapters, c.Devices, c.Proxies, c.Unpair = cloneMap(s.Adapters), cloneMap(s.Devices), cloneMap(s.Proxies), cloneMap(s.Unpair)
	c.Controllers = cloneMap(s.Controllers)
	return &c
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m)) // never null in JSON
	for k, v := range m {
		c[k] = v
	}
	return c
}

func (d DeviceState) clone() DeviceState {
	d.UUIDs = slices.Clone(d.UUIDs)
	return d
}

func (g GattState) clone() GattState {
	g.Hash = slices.Clone(g.Hash)
	g.Advertised = slices.Clone(g.Advertised)
	if g.MTU != nil {
		g.MTU = cloneMap(g.MTU)
	}
	return g
}

func (g GattState) zero() bool {
	return g.Database == nil && !g.Complete && len(g.Hash) == 0 && len(g.MTU) == 0 && g.Bonded == "" && !g.Stale && g.Last == ""
}
