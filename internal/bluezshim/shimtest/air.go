package shimtest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
)

// patience is how long a test waits for what must come.
const patience = 3 * time.Minute

// Air is a scripted bluezshim.Air.
type Air struct {
	mu       sync.Mutex
	changed  chan struct{} // size 1
	taken    chan struct{} // unbuffered
	reports  []*ble.Report
	sessions []ble.DiscoveryFilter
	monitors map[uint64]ble.Monitor
	forgot   []ble.Address
	sources  map[ble.Address][]ble.Source
}

// NewAir returns an air in which nothing is heard.
func NewAir() *Air {
	return &Air{
		changed: make(chan struct{}, 1), taken: make(chan struct{}),
		monitors: map[uint64]ble.Monitor{}, sources: map[ble.Address][]ble.Source{},
	}
}

// Report has the shim take reports, and returns once it has.
func (a *Air) Report(t testing.TB, reports ...*ble.Report) {
	t.Helper()
	a.mu.Lock()
	a.reports = append(a.reports, reports...)
	a.mu.Unlock()
	a.changed <- struct{}{}
	select {
	case <-a.taken:
	case <-time.After(patience):
		t.Fatal("nobody takes what the air reports")
	}
}

// Sessions is what SetDiscovery was last given, sorted by RSSI so that it can be compared.
func (a *Air) Sessions() []ble.DiscoveryFilter {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.sessions)
}

// Monitors is what is matched now.
func (a *Air) Monitors() map[uint64]ble.Monitor {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[uint64]ble.Monitor{}
	for id, m := range a.monitors {
		out[id] = m
	}
	return out
}

// Forgotten is every device that was forgotten, in order.
func (a *Air) Forgotten() []ble.Address {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.forgot)
}

// SetSources says who hears a device.
func (a *Air) SetSources(d ble.Address, s ...ble.Source) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sources[d] = s
}

// SetDiscovery implements bluezshim.Air, as do the methods after it.
func (a *Air) SetDiscovery(s []ble.DiscoveryFilter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions = slices.Clone(s)
	slices.SortFunc(a.sessions, func(x, y ble.DiscoveryFilter) int { return int(x.RSSI) - int(y.RSSI) })
}

func (a *Air) AddMonitor(id uint64, m ble.Monitor) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.monitors[id] = m
}

func (a *Air) RemoveMonitor(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.monitors, id)
}

func (a *Air) Changed() <-chan struct{} { return a.changed }

func (a *Air) Take(f func(*ble.Report)) {
	a.mu.Lock()
	list := a.reports
	a.reports = nil
	a.mu.Unlock()
	for _, r := range list {
		f(r)
	}
	a.taken <- struct{}{}
}

func (a *Air) Forget(d ble.Address) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgot = append(a.forgot, d)
}

func (a *Air) Lookup(ble.Address) (ble.AddressType, bool) { return ble.Public, true }

func (a *Air) Sources(d ble.Address) []ble.Source {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.sources[d])
}

var _ bluezshim.Air = (*Air)(nil)
