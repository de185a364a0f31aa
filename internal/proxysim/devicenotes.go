package proxysim

import "bluez-esphome/internal/ble"

// deviceNotes is what a proxy knows of single devices, whether or not there is a link.
type deviceNotes struct {
	bonds   map[ble.Address]bool                 // kept in flash
	cleared map[ble.Address]int                  // how often the cache was cleared
	params  map[ble.Address]ble.ConnectionParams // that were asked for last
}

func newDeviceNotes() deviceNotes {
	return deviceNotes{
		bonds: map[ble.Address]bool{}, cleared: map[ble.Address]int{}, params: map[ble.Address]ble.ConnectionParams{},
	}
}

// ForgetBonds empties the proxy's flash of pairings.
func (p *Proxy) ForgetBonds() {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	clear(p.bonds)
}

// Bonded reports whether the proxy holds a bond with a.
func (p *Proxy) Bonded(a ble.Address) bool {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	return p.bonds[a]
}

// Cleared is how often the cache of a was cleared.
func (p *Proxy) Cleared(a ble.Address) int {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	return p.cleared[a]
}

// ConnectionParams are the parameters that were asked for last on a link to a, and whether any were.
func (p *Proxy) ConnectionParams(a ble.Address) (ble.ConnectionParams, bool) {
	p.air.sched.mu.Lock()
	defer p.air.sched.mu.Unlock()
	params, ok := p.params[a]
	return params, ok
}
