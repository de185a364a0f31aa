package gatttest

import (
	"slices"
	"sync"

	"bluez-esphome/internal/ble"
)

// SlotTable is the connection slots of a proxy, and how it reports them. The exported fields are set before use.
type SlotTable struct {
	Limit int // connection slots
	// NoList: firmware before 2025.2 does not list the allocated slots.
	NoList bool
	// Mute: slots are not reported.
	Mute bool
	// StuckSlots: an ended link keeps its slot.
	StuckSlots bool
	// DoubleReport: firmware 2025.8 to 2026.7: a disconnect is reported twice, the slot freed with the second.
	DoubleReport bool
	// Shared: a daemon shares the proxy: a device that has a slot needs no other.
	Shared bool

	mu        sync.Mutex
	allocated []ble.Address
}

// Slots is the present message 81.
func (t *SlotTable) Slots() ble.Slots {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := ble.Slots{Known: true, Free: t.Limit - len(t.allocated), Limit: t.Limit, HasAllocated: !t.NoList}
	if !t.NoList {
		s.Allocated = slices.Clone(t.allocated)
	}
	return s
}

// Allocated lists the addresses that hold a slot.
func (t *SlotTable) Allocated() []ble.Address {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.allocated)
}

// SetLimitQuietly changes the number of slots before the first report.
func (t *SlotTable) SetLimitQuietly(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Limit = n
}

// take takes a slot for a, and reports false if none is free.
func (t *SlotTable) take(a ble.Address) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Shared && slices.Contains(t.allocated, a) {
		return true
	}
	if len(t.allocated) >= t.Limit {
		return false
	}
	t.allocated = append(t.allocated, a)
	return true
}

// occupy takes a slot whether or not one is free.
func (t *SlotTable) occupy(a ble.Address) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.allocated = append(t.allocated, a)
}

func (t *SlotTable) free(a ble.Address) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.allocated = slices.DeleteFunc(t.allocated, func(b ble.Address) bool { return a == b })
}

func (t *SlotTable) freeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.allocated = nil
}
