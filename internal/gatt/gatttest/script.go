package gatttest

import (
	"maps"
	"time"

	"bluez-esphome/internal/ble"
)

func (p *Proxy) peripheral(a ble.Address) *Peripheral {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peripherals[a]
}

// SetReadDelay changes a peripheral's ReadDelay.
func (p *Proxy) SetReadDelay(a ble.Address, d time.Duration) {
	dev := p.peripheral(a)
	dev.mu.Lock()
	defer dev.mu.Unlock()
	dev.ReadDelay = d
}

// SetRefused has a peripheral answer writes of a handle with an error; 0 ends that.
func (p *Proxy) SetRefused(a ble.Address, handle uint16, e ble.ATTError) {
	dev := p.peripheral(a)
	dev.mu.Lock()
	defer dev.mu.Unlock()
	refused := maps.Clone(dev.Refused)
	if refused == nil {
		refused = make(map[uint16]ble.ATTError)
	}
	refused[handle] = e
	dev.Refused = refused
}

// Stands is what was written to a handle of two octets on the present link, 0 if nothing was: a peripheral that is not
// bonded forgets its configuration with the link.
func (p *Proxy) Stands(a ble.Address, handle uint16) uint16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[a]
	if l == nil || len(l.stands[handle]) != 2 {
		return 0
	}
	return uint16(l.stands[handle][0]) | uint16(l.stands[handle][1])<<8
}

// SetSecure has an attribute of a peripheral want a paired link from now on.
func (p *Proxy) SetSecure(a ble.Address, handle uint16) {
	per := p.peripheral(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	if per.Secure == nil {
		per.Secure = make(map[uint16]bool)
	}
	per.Secure[handle] = true
}
