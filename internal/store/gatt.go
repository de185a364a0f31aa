package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bluez-esphome/internal/ble"
)

const gattDir = "gatt"

// maxBroken bounds the damaged files that wait to be set aside.
const maxBroken = 1024

// gattName is a device's file, relative to the directory. Colons are no good in file names on
// removable disks, so it is "aabbccddeeff.json".
func gattName(a ble.Address) string {
	return filepath.Join(gattDir, a.Hex()+".json")
}

// Gatt gives what is kept of a device's GATT database. The Database is shared and must not be modified.
func (s *Store) Gatt(a ble.Address) (GattState, bool) {
	s.mu.Lock()
	g, ok := s.gatt[a]
	s.mu.Unlock()
	if !ok {
		g = s.loadGatt(a)
	}
	return g.clone(), !g.zero()
}

// loadGatt reads a device's file and remembers what was there. It waits for no writer: a file is replaced whole, and
// what was set or written meanwhile is looked at again.
func (s *Store) loadGatt(a ble.Address) GattState {
	for {
		s.mu.Lock()
		newer, ok := s.gatt[a]
		sets := s.gattSets
		s.mu.Unlock()
		if ok {
			return newer
		}
		name := gattName(a)
		b, which, err := s.read(name, maxGattFile)
		var g GattState
		if err == nil {
			g, err = decodeGatt(b, a)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.reportDamage(name, broken{err, which})
			return GattState{}
		}
		s.mu.Lock()
		changed := s.gattSets != sets
		if !changed && err == nil { // absent ones are not remembered: anybody may ask for any address
			s.gatt[a] = g
		}
		s.mu.Unlock()
		if !changed {
			return g
		}
	}
}

// broken is a damaged file: what is wrong with it, and which file it is, nil if it could not be opened.
type broken struct {
	cause error
	which os.FileInfo
}

// reportDamage has the writer set a damaged file aside: the disk may take long.
func (s *Store) reportDamage(name string, b broken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.broken) < maxBroken {
		s.broken[name] = b
	}
	s.wake()
}

// setBrokenAside is what reportDamage asked for; writeMu is held. A report may come late, of a file that was set aside
// or replaced since it was read: the one that is there now is none of its business.
func (s *Store) setBrokenAside() {
	s.mu.Lock()
	reports := s.broken
	s.broken = map[string]broken{}
	s.mu.Unlock()
	for name, b := range reports {
		now, err := os.Stat(filepath.Join(s.dir, name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && b.which != nil && !os.SameFile(now, b.which) {
			continue
		}
		if s.aside[name] { // it was reported, and cannot be set aside
			continue
		}
		s.damaged(name, b.cause)
	}
}

// SetGatt keeps a device's GATT state; the zero value removes it. The Database must not be modified
// afterwards.
func (s *Store) SetGatt(a ble.Address, g GattState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gatt[a] = g.clone()
	s.gattDirty[a] = true
	s.gattSets++
	s.wake()
}

// prune removes the GATT files that were written longest ago beyond maxGattFiles.
func (s *Store) prune() {
	entries, err := os.ReadDir(filepath.Join(s.dir, gattDir))
	if err != nil || len(entries) <= maxGattFiles {
		return
	}
	type aged struct {
		name string
		at   int64
	}
	var files []aged
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".json") {
			files = append(files, aged{e.Name(), info.ModTime().UnixNano()})
		}
	}
	slices.SortFunc(files, func(a, b aged) int { return int(min(max(a.at-b.at, -1), 1)) })
	for _, f := range files[:max(len(files)-maxGattFiles, 0)] {
		_ = os.Remove(filepath.Join(s.dir, gattDir, f.name))
	}
}
