package gatttest

import (
	"slices"
	"sync"
	"time"

	"bluez-esphome/internal/ble"
)

// Peripheral is one BLE device that any proxy may reach.
type Peripheral struct {
	Address  ble.Address
	Services []ble.Service // as streamed
	MTU      int           // 247 if 0
	// Values are read and written; a handle that is missing is ATT error 0x01.
	Values map[uint16][]byte
	// Secure handles need a paired link; NoPair makes pairing fail.
	Secure map[uint16]bool
	NoPair bool
	// CommandTime is how long a write without response takes; those that wait when the link is ended are lost.
	CommandTime time.Duration
	// Refused writes get that answer.
	Refused map[uint16]ble.ATTError
	// ReadDelay delays reads.
	ReadDelay time.Duration

	mu     sync.Mutex
	linked map[string]bool // under mu: proxies that have a link
	most   int             // under mu: most links or attempts at the same time
	writes []Write
}

// Write is a write that a peripheral saw.
type Write struct {
	Handle   uint16
	Value    string
	Response bool
}

// Writes lists the writes so far.
func (p *Peripheral) Writes() []Write {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.writes)
}

// MostAtOnce is the greatest number of proxies that had or tried a link at the same time.
func (p *Peripheral) MostAtOnce() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}

func (p *Peripheral) begin(proxy string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.linked == nil {
		p.linked = make(map[string]bool)
	}
	p.linked[proxy] = true
	p.most = max(p.most, len(p.linked))
}

func (p *Peripheral) end(proxy string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.linked, proxy)
}

// Become gives the peripheral the services and values of another one, as after an update of its firmware. A proxy may be
// reading them meanwhile.
func (p *Peripheral) Become(other *Peripheral) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Services, p.Values = other.Services, other.Values
}
