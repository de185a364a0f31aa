// Package gatttest has a scripted proxy for tests of package gatt: it answers as
// ESPHome's firmware does where nothing else is scripted, with its slots,
// reports and their order, but without a wire.
package gatttest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"bluez-esphome/internal/ble"
)

// Sink is fed what a proxy's reader sees; gatt.Manager implements it.
type Sink interface {
	ProxyOnline(name string)
	ProxyOffline(name string, err error)
	LinkReport(name string, a ble.Address, connected bool, mtu int, code int32)
	Notification(name string, a ble.Address, handle uint16, value []byte)
	SlotsReport(name string, s ble.Slots)
	PairingReport(name string, a ble.Address, paired bool)
}

// Proxy is one scripted proxy. The exported fields are set before use.
type Proxy struct {
	Label    string
	Flags    ble.Features
	Firmware string
	Sink     Sink
	Answers
	SlotTable
	journal

	peripherals map[ble.Address]*Peripheral // immutable after New

	mu       sync.Mutex
	online   bool
	session  context.Context // ends when the proxy goes offline
	drop     context.CancelFunc
	links    map[ble.Address]*plink
	attempts map[ble.Address]int
	streams  map[ble.Address]int
	bonds    map[ble.Address]bool
}

type plink struct {
	ctx    context.Context
	cancel context.CancelFunc
	cached bool
	secure bool
	notify map[uint16]bool
	// commands are on their way, until.
	commands time.Time
	// unaware: the peripheral answers the next request with ATT error 0x12.
	unaware bool
	stands  map[uint16][]byte // what was written, by handle
}

// AllFlags are the features of current firmware.
const AllFlags = ble.Features(0xff)

// New makes an online proxy with 3 slots.
func New(name string, ps ...*Peripheral) *Proxy {
	p := &Proxy{
		Label: name, Flags: AllFlags, Firmware: "2026.10.0", SlotTable: SlotTable{Limit: 3},
		peripherals: make(map[ble.Address]*Peripheral),
		links:       make(map[ble.Address]*plink),
		attempts:    make(map[ble.Address]int),
		streams:     make(map[ble.Address]int),
		bonds:       make(map[ble.Address]bool),
	}
	for _, d := range ps {
		p.peripherals[d.Address] = d
	}
	p.online = true
	p.session, p.drop = context.WithCancel(context.Background())
	return p
}

// Dials reports whether an attempt is in progress: an ESP neither scans nor makes another connection meanwhile.
func (p *Proxy) Dials() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.Allocated()) > len(p.links)
}

// ID, Name, Features and Version are as gatt.Proxy has them.
func (p *Proxy) ID() string             { return p.Label }
func (p *Proxy) Name() string           { return p.Label }
func (p *Proxy) Features() ble.Features { return p.Flags }
func (p *Proxy) Version() string        { return p.Firmware }

// Online reports whether a session is up.
func (p *Proxy) Online() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.online
}

// SendSlots reports the slots.
func (p *Proxy) SendSlots() {
	if !p.Mute {
		p.Sink.SlotsReport(p.Label, p.Slots())
	}
}

// SetLimit changes the number of slots and reports it.
func (p *Proxy) SetLimit(n int) {
	p.SetLimitQuietly(n)
	p.SendSlots()
}

// Occupy takes a slot for somebody else and reports it.
func (p *Proxy) Occupy(a ble.Address) {
	p.occupy(a)
	p.SendSlots()
}

// Vacate frees a slot without any report of a link and reports the slots.
func (p *Proxy) Vacate(a ble.Address) {
	p.free(a)
	p.SendSlots()
}

// GoOffline ends the session as a lost TCP connection does.
func (p *Proxy) GoOffline() {
	p.mu.Lock()
	p.online = false
	p.drop()
	clear(p.links)
	p.mu.Unlock()
	p.freeAll()
	for _, dev := range p.peripherals {
		dev.end(p.Label)
	}
	p.Sink.ProxyOffline(p.Label, fmt.Errorf("connection reset by peer"))
}

// GoOnline begins a new session.
func (p *Proxy) GoOnline() {
	p.mu.Lock()
	p.online = true
	p.session, p.drop = context.WithCancel(context.Background())
	p.mu.Unlock()
	p.Sink.ProxyOnline(p.Label)
	p.SendSlots()
}

// DropLink ends a's link with code, as the peripheral or the radio does.
func (p *Proxy) DropLink(a ble.Address, code int32) {
	p.mu.Lock()
	l := p.links[a]
	delete(p.links, a)
	p.mu.Unlock()
	if l == nil {
		return
	}
	p.peripherals[a].end(p.Label)
	p.reportEnd(a, code, l)
}

// LoseSilently ends a's link without any report.
func (p *Proxy) LoseSilently(a ble.Address) {
	p.mu.Lock()
	delete(p.links, a)
	p.mu.Unlock()
	p.peripherals[a].end(p.Label)
}

func (p *Proxy) reportEnd(a ble.Address, code int32, l *plink) {
	p.Sink.LinkReport(p.Label, a, false, 0, code)
	if l != nil {
		l.cancel()
	}
	if p.StuckSlots {
		return
	}
	if p.DoubleReport {
		p.SendSlots()
		time.AfterFunc(200*time.Millisecond, func() {
			p.Sink.LinkReport(p.Label, a, false, 0, code)
			p.free(a)
			p.SendSlots()
		})
		return
	}
	p.free(a)
	p.SendSlots()
}

// SendNotification sends a notification if it is registered.
func (p *Proxy) SendNotification(a ble.Address, handle uint16, value []byte) {
	p.mu.Lock()
	l := p.links[a]
	on := l != nil && l.notify[handle]
	p.mu.Unlock()
	if on {
		p.Sink.Notification(p.Label, a, handle, value)
	}
}

// OutOfSync has the peripheral answer the next request on the link of a with Database Out Of Sync.
func (p *Proxy) OutOfSync(a ble.Address) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.links[a]; l != nil {
		l.unaware = true
	}
}

// sleep waits for d. It fails if ctx or the session ends first.
func (p *Proxy) sleep(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	session := p.session
	p.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-session.Done():
		return fmt.Errorf("%s: %w", p.Label, ble.ErrNotConnected)
	case <-ctx.Done():
		return ctx.Err()
	}
}
