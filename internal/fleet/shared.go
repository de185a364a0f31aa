package fleet

import (
	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
)

// Shared is a proxy that is online, as it is offered to other hosts: alone or as a part of all.
type Shared interface {
	Scanner(state ble.ScannerState, mode, configured ble.ScannerMode)
	Slots(ble.Slots)
	WantsActive() bool
	Wanted() bool // a host subscribed to its advertisements
	Down()
}

// Shared is the proxy as it is offered, or nil.
func (p *Proxy) Shared() Shared {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shared
}

// Share offers the proxy by make, if it is online and has its numbers, or is another host's, and is not offered
// already.
func (p *Proxy) Share(make func(id, name string, info apiconn.Info) (Shared, error)) error {
	p.mu.Lock()
	up, ready := p.up, p.up && p.seat == nil && p.shared == nil
	id, name, info := p.id, p.name, p.info
	if !up {
		ready, info = p.shared == nil && p.said.MAC != "", p.said
	}
	p.mu.Unlock()
	if !up && p.State() != apiconn.StateDisplaced {
		ready = false
	}
	if name == "" {
		name = info.Name
	}
	if !ready {
		return nil
	}
	sh, err := make(id, name, info)
	if err != nil {
		return err
	}
	p.telling.Lock()
	defer p.telling.Unlock()
	p.mu.Lock()
	p.shared, p.offered = sh, info
	scan, known := p.scan, p.known
	p.mu.Unlock()
	switch {
	case up && known:
		sh.Scanner(scan.State, scan.Mode, scan.Configured)
	case !up: // which answers those who subscribe
		sh.Scanner(ble.ScannerStopped, ble.ScanPassive, ble.ScanPassive)
	}
	p.tellSlots(sh)
	return nil
}

// Unshare takes the proxy back and returns what it was offered as, or nil.
func (p *Proxy) Unshare() Shared {
	p.mu.Lock()
	defer p.mu.Unlock()
	sh := p.shared
	p.shared = nil
	return sh
}

// slotsChanged tells the hosts of the slots; scannerChanged of the scanner.
func (p *Proxy) slotsChanged() {
	p.telling.Lock()
	defer p.telling.Unlock()
	if sh := p.Shared(); sh != nil {
		p.tellSlots(sh)
	}
}

// tellSlots tells the hosts of the slots, if they are known: that none is free where another host has the proxy, since
// nothing that is asked of it is answered. A limit of 0 would be taken for "not known yet". p.telling is held.
func (p *Proxy) tellSlots(sh Shared) {
	slots := p.Slots()
	if !p.Online() {
		slots.Free, slots.Allocated, slots.HasAllocated = 0, nil, false
	}
	if slots.Known {
		sh.Slots(slots)
	}
}

// scannerChanged notes what the proxy says and reports whether its mode is another.
func (p *Proxy) scannerChanged(now Scan) bool {
	p.telling.Lock()
	defer p.telling.Unlock()
	p.mu.Lock()
	changed := p.take(now)
	sh := p.shared
	p.mu.Unlock()
	if sh != nil {
		sh.Scanner(now.State, now.Mode, now.Configured)
	}
	return changed
}
