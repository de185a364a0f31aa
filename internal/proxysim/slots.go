package proxysim

import (
	"slices"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
)

// slotTable is the connection slots of a proxy.
type slotTable struct {
	conns   []*connection // in the order of their slots
	slotMTU []uint16      // of the last link that each slot had
	links   int           // that are up
	attempt *connection   // the one that is being connected
}

// newSlotTable is the table of n slots after a restart.
func newSlotTable(n int) slotTable {
	t := slotTable{slotMTU: make([]uint16, n)}
	for i := range t.slotMTU {
		t.slotMTU[i] = defaultMTU
	}
	return t
}

// conn is the connection to a, or nil.
func (t *slotTable) conn(a ble.Address) *connection {
	for _, c := range t.conns {
		if c.addr == a {
			return c
		}
	}
	return nil
}

// reserve takes the first free slot for a connection of p to a; nil if there is none.
func (t *slotTable) reserve(p *Proxy, a ble.Address) *connection {
	if len(t.conns) >= len(t.slotMTU) {
		return nil
	}
	slot := 0
	for slot < len(t.conns) && t.conns[slot].slot == slot {
		slot++
	}
	c := &connection{proxy: p, slot: slot, addr: a, registered: map[uint16]bool{}}
	t.conns = slices.Insert(t.conns, slot, c)
	return c
}

// vacate frees the slot of c.
func (t *slotTable) vacate(c *connection) {
	t.conns = slices.DeleteFunc(t.conns, func(o *connection) bool { return o == c })
}

// nextParked is the first connection that waits for its attempt, or nil.
func (t *slotTable) nextParked() *connection {
	for _, c := range t.conns {
		if c.state == connParked {
			return c
		}
	}
	return nil
}

// allocated lists the addresses that have a slot.
func (t *slotTable) allocated() []ble.Address {
	var all []ble.Address
	for _, c := range t.conns {
		all = append(all, c.addr)
	}
	return all
}

// Slots is the present state of the connection slots.
func (p *Proxy) Slots() ble.Slots {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	return p.slots()
}

func (p *Proxy) slots() ble.Slots {
	return ble.Slots{
		Known: true, Limit: p.cfg.Slots, Free: p.cfg.Slots - len(p.conns), HasAllocated: p.fw.allocatedList(),
		Allocated: p.allocated(),
	}
}

func (p *Proxy) sendSlots() {
	p.tell(func(s *apiserver.Session) { s.Slots(p.slots()) })
}
