package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bluez-esphome/internal/ble"

	"bluez-esphome/internal/lockorder"
)

// Store is the state of one program run. Its methods are goroutine-safe; only Open, Flush and Close wait for the disk,
// and the first Gatt of a device reads its file. Nothing else does, and no lock but writeMu is held meanwhile: the
// setters may be called with any lock held.
type Store struct {
	dir  string
	log  *slog.Logger
	lock *os.File // held while open, nil if there is none

	mu        lockorder.Mutex[lockorder.Store]
	st        *state
	dirty     bool                      // st is newer than the file
	gatt      map[ble.Address]GattState // loaded or set; a zero value means: known to be none
	gattDirty map[ble.Address]bool
	gattSets  uint64            // how often SetGatt was called
	broken    map[string]broken // damaged files that are to be set aside
	closed    bool
	full      bool // the limit of devices was reported

	writeMu lockorder.Mutex[lockorder.StoreWrite] // serialises writing
	failing bool                                  // under writeMu: the last write failed and was reported
	aside   map[string]bool                       // under writeMu: damaged files that could not be set aside yet

	poke chan struct{} // size 1: something became dirty
	stop chan struct{}
	done chan struct{}
}

// Open reads the state kept in dir, an absolute path, and makes the directory if there is none. It
// fails only if dir cannot be a directory for state at all, or if another process has it open;
// damage and a disk that cannot be written are logged.
func Open(dir string, logger *slog.Logger) (*Store, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("cannot open state directory %q: not an absolute path", dir)
	}
	s := &Store{
		dir: dir, log: logger.With("dir", dir), gatt: map[ble.Address]GattState{}, gattDirty: map[ble.Address]bool{},
		aside: map[string]bool{}, broken: map[string]broken{}, poke: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		s.unlock()
		return nil, err
	}
	go s.writer()
	return s, nil
}

// prepare makes the directory and locks it.
func (s *Store) prepare() error {
	if info, err := os.Stat(s.dir); err == nil && !info.IsDir() {
		return fmt.Errorf("cannot open state directory %s: not a directory", s.dir)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, gattDir), 0o700); err != nil {
		s.failed(err)
		return nil
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	s.sweep()
	return nil
}

// load reads state.json, or makes new state.
func (s *Store) load() error {
	b, _, err := s.read(stateFile, maxStateFile)
	if err == nil {
		s.st, err = decodeState(b)
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		s.damaged(stateFile, err)
	}
	s.st, err = newState()
	if err != nil {
		return err
	}
	s.touch() // the address is made once: write it now, not when something else changes
	return nil
}

// Address is the merged adapter's address: random, locally administered, made once.
func (s *Store) Address() ble.Address { return s.st.Address }

// Adapter gives the settings of hciINDEX, bluetoothd's defaults if nobody changed them.
func (s *Store) Adapter(index int) AdapterState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.st.Adapters[index]; ok {
		return a
	}
	return newAdapter
}

// SetAdapter keeps the settings of hciINDEX.
func (s *Store) SetAdapter(index int, a AdapterState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.st.Adapters[index]; ok && old == a {
		return
	}
	s.st.Adapters[index] = a
	s.touch()
}

// Device gives what is kept of a device.
func (s *Store) Device(a ble.Address) (DeviceState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.st.Devices[a]
	return d.clone(), ok
}

// Devices calls f for every stored device, by address. f may call the Store.
func (s *Store) Devices(f func(ble.Address, DeviceState)) {
	s.mu.Lock()
	all := cloneMap(s.st.Devices)
	s.mu.Unlock()
	addrs := make([]ble.Address, 0, len(all))
	for a := range all {
		addrs = append(addrs, a)
	}
	slices.Sort(addrs)
	for _, a := range addrs {
		f(a, all[a].clone())
	}
}

// SetDevice keeps what is to be known of a device after a restart. Beyond 65536 devices further
// ones are not kept, which is logged once.
func (s *Store) SetDevice(a ble.Address, d DeviceState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.st.Devices[a]
	if ok && old.equal(d) {
		return
	}
	if !ok && len(s.st.Devices) >= maxDevices {
		if !s.full {
			s.full = true
			s.log.Warn("Further devices are not remembered: the limit is reached", "limit", maxDevices)
		}
		return
	}
	s.st.Devices[a] = d.clone()
	s.touch()
}

// DeleteDevice forgets a device, but not its GATT state.
func (s *Store) DeleteDevice(a ble.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.st.Devices[a]; ok {
		delete(s.st.Devices, a)
		s.touch()
	}
}

func (d DeviceState) equal(e DeviceState) bool {
	uuids := slices.Equal(d.UUIDs, e.UUIDs)
	return uuids && d.Type == e.Type && d.Name == e.Name && d.Alias == e.Alias && d.Appearance == e.Appearance &&
		d.Modalias == e.Modalias && d.Trusted == e.Trusted && d.Blocked == e.Blocked && d.Bonded == e.Bonded
}

// touch marks state.json as changed; mu is held, or the Store is not shared yet.
func (s *Store) touch() {
	s.dirty = true
	s.wake()
}

func (s *Store) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// sweep removes temporary files that a crash left behind, and the oldest GATT files beyond the limit.
func (s *Store) sweep() {
	for _, sub := range []string{".", gattDir} {
		entries, err := os.ReadDir(filepath.Join(s.dir, sub))
		if err != nil {
			s.log.Warn("Cannot list state directory", "err", err)
			continue
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") && strings.Contains(e.Name(), ".json") {
				_ = os.Remove(filepath.Join(s.dir, sub, e.Name()))
			}
		}
	}
	s.prune()
}
