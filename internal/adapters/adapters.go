// Package adapters gives proxies adapters of their own, hci1…hci8, beside the merged one, and keeps their numbers: a
// proxy has the same one over restarts, told apart by its MAC.
package adapters

import (
	"log/slog"
	"slices"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/scanmode"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/store"
)

// An Own is the adapter of one proxy.
type Own struct {
	MAC   ble.Address
	Index int // N of hciN, 1…8
	Table *scanner.Table
	Mode  scanmode.View
}

// Config makes a Set. No field may be its zero value.
type Config struct {
	Store      *store.Store
	Merged     *scanner.Table
	MaxDevices int // of each table
	Logger     *slog.Logger
}

// A Set is the adapters that proxies have of their own. Its methods are goroutine-safe.
type Set struct {
	cfg Config

	attaching lockorder.Mutex[lockorder.AdapterAttach] // one number at a time

	mu     lockorder.Mutex[lockorder.Adapters]
	byMAC  map[ble.Address]*Own
	warned bool // that there are more proxies than numbers
}

// New makes a Set without any.
func New(cfg Config) *Set { return &Set{cfg: cfg, byMAC: map[ble.Address]*Own{}} }

// Known makes the adapters of proxies that had one in an earlier run and that want says are still used, and calls
// publish for each: they are there before their proxies are online.
func (s *Set) Known(want func(mac ble.Address, info store.ProxyInfo) bool, publish func(own *Own, info store.ProxyInfo)) {
	s.cfg.Store.ProxyAdapters(func(mac ble.Address, index int, info store.ProxyInfo) {
		if info.Name == "" || s.get(mac) != nil || !want(mac, info) {
			return
		}
		publish(s.add(mac, index), info)
	})
}

// Attach gives the adapter of the proxy with that MAC, a new one if it has none yet, and nil if all numbers are taken.
func (s *Set) Attach(mac ble.Address) *Own {
	s.attaching.Lock()
	defer s.attaching.Unlock()
	if own := s.get(mac); own != nil {
		return own
	}
	index, ok := s.number(mac)
	if !ok {
		return nil
	}
	return s.add(mac, index)
}

func (s *Set) get(mac ble.Address) *Own {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byMAC[mac]
}

// add makes the view of one proxy.
func (s *Set) add(mac ble.Address, index int) *Own {
	own := &Own{MAC: mac, Index: index, Table: scanner.New(scanner.Config{MaxDevices: s.cfg.MaxDevices, Logger: s.cfg.Logger})}
	s.cfg.Store.Devices(func(a ble.Address, st store.DeviceState) {
		if st.Bonded {
			own.Table.Keep(a, true)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byMAC[mac] = own
	return own
}

// number finds hciN for a new proxy. When all are taken, those of proxies that have no adapter in this run are free.
func (s *Set) number(mac ble.Address) (int, bool) {
	index, ok := s.cfg.Store.ProxyAdapter(mac)
	if ok {
		return index, true
	}
	s.cfg.Store.ProxyAdapters(func(mac ble.Address, _ int, _ store.ProxyInfo) {
		if s.get(mac) == nil {
			s.cfg.Store.FreeAdapter(mac)
		}
	})
	index, ok = s.cfg.Store.ProxyAdapter(mac)
	if ok {
		return index, true
	}
	s.mu.Lock()
	first := !s.warned
	s.warned = true
	s.mu.Unlock()
	if first {
		s.cfg.Logger.Warn("More than 8 proxies: the others have no adapter of their own, their devices are on hci0 only")
	}
	return 0, false
}

// Hearing lists the numbers of the adapters whose proxies hear a device, in order; the merged one is not among them.
func (s *Set) Hearing(a ble.Address) (out []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, own := range s.byMAC {
		if _, heard := own.Table.Device(a); heard {
			out = append(out, own.Index)
		}
	}
	slices.Sort(out)
	return out
}

// Each calls f for the merged table and for every proxy's.
func (s *Set) Each(f func(*scanner.Table)) {
	f(s.cfg.Merged)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, own := range s.byMAC {
		f(own.Table)
	}
}

// Close closes the tables.
func (s *Set) Close() { s.Each((*scanner.Table).Close) }
