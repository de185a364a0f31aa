// Package gatttest has a scripted proxy for tests of package gatt: it answers as
// ESPHome's firmware does where nothing else is scripted, with its slots,
// reports and their order, but without a wire.
package gatttest

import (
	"context"
	"fmt"
	"slices"
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

// Outcome scripts one attempt to connect.
type Outcome struct {
	Delay time.Duration
	Code  int32 // answered with connected=false if not 0, or if Refuse
	// Refuse answers connected=false with code 0. Hang never answers. Lose ends the link right after it came up.
	Refuse, Hang, Lose bool
}

// Code is the error of an attempt that was answered with connected=false.
type Code int32

// ConnectCode is message 69's error.
func (c Code) ConnectCode() int32 { return int32(c) }

func (c Code) Error() string { return fmt.Sprintf("connected=false, code 0x%02x", int32(c)) }

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

// Proxy is one scripted proxy. The exported fields are set before use.
type Proxy struct {
	Label    string
	Flags    ble.Features
	Firmware string
	Limit    int // connection slots
	Sink     Sink
	// OnCall is told of each call, written as in Calls; nil: nobody wants to know.
	OnCall func(call string)
	// Script gives the outcome of the n-th attempt (from 0) to connect to a; nil: all succeed in 100 ms.
	Script func(a ble.Address, n int) Outcome
	// CachedMTU is what a cached link reports as its MTU; 0: 23.
	CachedMTU int
	// TellsMTU: the MTU of a link that is up is told, and how long that takes; 0: it is not, a negative time: it never
	// comes.
	TellsMTU time.Duration
	// Accepts reports whether peripherals answer when they are dialled with that address type; nil: with any. Types are
	// those of the attempts, in order.
	Accepts func(ble.AddressType) bool
	Types   []ble.AddressType
	// Streams gives the list that the n-th discovery streams, nil: the peripheral's.
	Streams func(a ble.Address, n int) ([]ble.Service, error)
	// StreamDelay is how long the n-th discovery takes, nil: 50 ms.
	StreamDelay func(a ble.Address, n int) time.Duration
	// DoubleReport: firmware 2025.8 to 2026.7: a disconnect is reported twice, the slot freed with the second.
	DoubleReport bool
	// NoList: firmware before 2025.2 does not list the allocated slots.
	NoList bool
	// Mute: slots are not reported.
	Mute bool
	// StuckSlots: an ended link keeps its slot.
	StuckSlots bool
	// Lose tells which calls, written as in Calls, get no answer although they are carried out. Reads and writes are "read
	// ADDRESS HANDLE" and "write ADDRESS HANDLE".
	Lose func(call string) bool
	// NoStart: every read and write has to be waited for.
	NoStart bool
	// DisconnectDelay is how long ending a link or an attempt takes.
	DisconnectDelay time.Duration

	peripherals map[ble.Address]*Peripheral // immutable after New

	mu        sync.Mutex
	started   int
	online    bool
	session   context.Context // ends when the proxy goes offline
	drop      context.CancelFunc
	allocated []ble.Address
	links     map[ble.Address]*plink
	attempts  map[ble.Address]int
	streams   map[ble.Address]int
	bonds     map[ble.Address]bool
	calls     []string
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

// answerTimeout is how long a session waits for an answer.
const answerTimeout = 30 * time.Second

// AllFlags are the features of current firmware.
const AllFlags = ble.Features(0xff)

// New makes an online proxy with 3 slots.
func New(name string, ps ...*Peripheral) *Proxy {
	p := &Proxy{
		Label: name, Flags: AllFlags, Firmware: "2026.10.0", Limit: 3,
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

// Calls lists the calls so far, as "connect AA:…".
func (p *Proxy) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// Dials reports whether an attempt is in progress: an ESP neither scans nor makes another connection meanwhile.
func (p *Proxy) Dials() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.allocated) > len(p.links)
}

// Count is how often call was made.
func (p *Proxy) Count(call string) int {
	n := 0
	for _, c := range p.Calls() {
		if c == call {
			n++
		}
	}
	return n
}

// Allocated lists the addresses that hold a slot.
func (p *Proxy) Allocated() []ble.Address {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.allocated)
}

// ID, Name, Online, Features, Version and Slots are as gatt.Proxy has them.
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

// Slots is the present message 81.
func (p *Proxy) Slots() ble.Slots {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slotsLocked()
}

func (p *Proxy) slotsLocked() ble.Slots {
	s := ble.Slots{Known: true, Free: p.Limit - len(p.allocated), Limit: p.Limit, HasAllocated: !p.NoList}
	if !p.NoList {
		s.Allocated = slices.Clone(p.allocated)
	}
	return s
}

// SendSlots reports the slots.
func (p *Proxy) SendSlots() {
	if !p.Mute {
		p.Sink.SlotsReport(p.Label, p.Slots())
	}
}

// SetLimit changes the number of slots and reports it.
func (p *Proxy) SetLimit(n int) {
	p.mu.Lock()
	p.Limit = n
	p.mu.Unlock()
	p.SendSlots()
}

// SetLimitQuietly changes the number of slots before the first report.
func (p *Proxy) SetLimitQuietly(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Limit = n
}

// Occupy takes a slot for somebody else and reports it.
func (p *Proxy) Occupy(a ble.Address) {
	p.mu.Lock()
	p.allocated = append(p.allocated, a)
	p.mu.Unlock()
	p.SendSlots()
}

// Vacate frees a slot without any report of a link and reports the slots.
func (p *Proxy) Vacate(a ble.Address) {
	p.free(a)
	p.SendSlots()
}

func (p *Proxy) free(a ble.Address) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allocated = slices.DeleteFunc(p.allocated, func(b ble.Address) bool { return a == b })
}

// GoOffline ends the session as a lost TCP connection does.
func (p *Proxy) GoOffline() {
	p.mu.Lock()
	p.online = false
	p.drop()
	clear(p.links)
	p.allocated = nil
	p.mu.Unlock()
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

func (p *Proxy) called(format string, args ...any) {
	call := fmt.Sprintf(format, args...)
	if p.OnCall != nil {
		p.OnCall(call)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call)
}

// lost waits as long as a session does for an answer that does not come, if the call is one to lose.
func (p *Proxy) lost(ctx context.Context, format string, args ...any) error {
	if p.Lose == nil || !p.Lose(fmt.Sprintf(format, args...)) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	<-ctx.Done()
	return fmt.Errorf("%w: %w", ble.ErrTimeout, ctx.Err())
}

// sleep waits; false if ctx or the session ended first.
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

// Become gives the peripheral the services and values of another one, as after an update of its firmware. A proxy may be
// reading them meanwhile.
func (p *Peripheral) Become(other *Peripheral) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Services, p.Values = other.Services, other.Values
}
