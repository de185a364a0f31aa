package gatt

import (
	"maps"
	"slices"

	"bluez-esphome/internal/ble"

	"bluez-esphome/internal/lockorder"
)

// Record is what is remembered of one peripheral beyond a link. Its fields are those of store.GattState, which is what
// the file has; a Store converts one into the other.
type Record struct {
	// Database is the last known database, nil if none. It is not modified.
	Database *ble.Database
	// Complete: Database was confirmed and may be used without asking the peripheral
	// for it again. Firmware 2025.8 to 2026.7 may lose a part of the list and report
	// it as done; what it says is confirmed by a second discovery that agrees.
	Complete bool
	// Hash is the value of the Database Hash characteristic for Database.
	Hash []byte
	// Name and Advertised are what the device said in the air when Database was learned.
	Name       string
	Advertised []ble.UUID
	// Armed names the proxy of the bond for which Service Changed is enabled, "" if none.
	Armed string
	// MTU is the ATT_MTU that was negotiated through each proxy.
	MTU map[string]int
	// Bonded is the ID of the proxy that holds the bond, "" if none.
	Bonded string
	// BondedBy is the party that made the bond, OwnerConfig.Party; "" if that is not known.
	BondedBy string
	// Stale: the peripheral did not know an attribute of Database; the proxy's own cache is to be
	// cleared as well.
	Stale bool
	// Last is the ID of the proxy of the last link.
	Last string
}

func (r Record) zero() bool {
	return r.Database == nil && !r.Complete && len(r.Hash) == 0 && len(r.MTU) == 0 && !r.Stale && r.Bonded == "" && r.Last == ""
}

func (r Record) clone() Record {
	r.MTU = maps.Clone(r.MTU)
	r.Hash = slices.Clone(r.Hash)
	r.Advertised = slices.Clone(r.Advertised)
	return r
}

// Store keeps records over restarts. Its methods are goroutine-safe and quick;
// they take and give copies. Saving a zero Record removes it.
type Store interface {
	Load(a ble.Address) (Record, bool)
	Save(a ble.Address, r Record)
	// Unpairs lists the devices whose bond a proxy is yet to drop.
	Unpairs(proxy string) []ble.Address
	// SetUnpair adds one to them, or takes it away.
	SetUnpair(proxy string, a ble.Address, pending bool)
}

type memoryStore struct {
	mu      lockorder.Mutex[lockorder.Store]
	recs    map[ble.Address]Record // under mu
	unpairs map[bond]bool          // under mu
}

// bond is one that a proxy has.
type bond struct {
	proxy  string
	device ble.Address
}

func newMemoryStore() *memoryStore {
	return &memoryStore{recs: make(map[ble.Address]Record), unpairs: make(map[bond]bool)}
}

func (s *memoryStore) Load(a ble.Address) (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.recs[a]
	return r.clone(), ok
}

func (s *memoryStore) Save(a ble.Address, r Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.zero() {
		delete(s.recs, a)
		return
	}
	s.recs[a] = r.clone()
}

func (s *memoryStore) Unpairs(proxy string) []ble.Address {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []ble.Address
	for b := range s.unpairs {
		if b.proxy == proxy {
			out = append(out, b.device)
		}
	}
	return out
}

func (s *memoryStore) SetUnpair(proxy string, a ble.Address, pending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pending {
		s.unpairs[bond{proxy, a}] = true
	} else {
		delete(s.unpairs, bond{proxy, a})
	}
}

// record loads what is remembered of a.
func (m *Manager) record(a ble.Address) Record {
	r, _ := m.cfg.Store.Load(a)
	return r.clone()
}

// updateRecord changes what is remembered of a. Updates of all devices are
// serialised; f must not call back into the Manager.
func (m *Manager) updateRecord(a ble.Address, f func(*Record)) {
	m.recMu.Lock()
	defer m.recMu.Unlock()
	r, known := m.cfg.Store.Load(a)
	r = r.clone()
	f(&r)
	if !known && r.zero() {
		return // hosts may ask to forget anything: what was never known takes no room
	}
	m.cfg.Store.Save(a, r)
}
