package share

import (
	"context"
	"errors"
	"slices"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
)

const (
	// maxDevices bounds the links and attempts of one host; a proxy has 9 slots at most.
	maxDevices = 64
	// maxOps bounds the GATT operations of one host that are under way: it is read from only while there are fewer, so
	// that none keeps others from a device for long.
	maxOps = 64
	// maxJobs bounds the requests of one host that wait for the proxy beside its links.
	maxJobs = 16
)

// Codes of message 69 (ESPHome native API): HCI reasons and codes of the ESP's stack.
const (
	codeAuthentication = 0x05
	codeTimeout        = 0x08
	codeRemote         = 0x13
	codeLocal          = 0x16
	codeEstablish      = 0x3e
	codeGATT           = 0x85
)

// host is one session with another host: its subscriptions, its links and its wish for a scan mode.
type host struct {
	p      *Proxy
	s      *apiserver.Session
	links  links.Links
	since  time.Time
	spawn  func(func(context.Context)) // runs it with a context that ends with the session
	cancel context.CancelFunc
	rest   rest
	ops    chan struct{} // one element for each operation that is under way

	// Under Proxy.mu.
	subscribed bool
	wantsSlots bool
	mode       *ble.ScannerMode // nil: it did not ask
	devices    map[ble.Address]*device
	jobs       int
	outdated   bool // it was told less of the device than there is: it is to come back
}

// device is a link of the host or an attempt at one. Its fields are under Proxy.mu.
type device struct {
	up       bool
	db       *ble.Database // nil until up; not modified
	mtu      int
	notified map[uint16]bool // value handles
}

var _ links.Events = (*host)(nil)

func newHost(p *Proxy, s *apiserver.Session) *host {
	ctx, cancel := context.WithCancel(context.Background())
	h := &host{
		p: p, s: s, since: time.Now(), cancel: cancel, ops: make(chan struct{}, maxOps), devices: map[ble.Address]*device{},
		spawn: func(f func(context.Context)) { p.srv.wg.Go(func() { f(ctx) }) },
	}
	h.rest.h = h
	return h
}

// begin waits until one more operation may be under way, and reports false if the session ends first. The operation is
// to end with end.
func (h *host) begin() bool {
	select {
	case h.ops <- struct{}{}:
		return true
	case <-h.s.Done():
		return false
	}
}

func (h *host) end() { <-h.ops }

func (h *host) close() {
	h.cancel()
	h.links.Close()
}

// wantsActiveLocked reports whether the host wants active scanning. byDefault is what it wants that subscribed without
// asking.
func (h *host) wantsActiveLocked(byDefault bool) bool {
	if h.mode != nil {
		return *h.mode == ble.ScanActive
	}
	return h.subscribed && byDefault
}

// tellSlotsLocked sends the slots as the device itself tells them, message 81: its limit, what is free, and the
// addresses of all that are taken, whoever has them. A link whose end the host is yet to be told of keeps its slot
// until then: a client takes one that is not in the list for lost.
func (h *host) tellSlotsLocked() {
	if !h.wantsSlots {
		return
	}
	view := h.p.slots
	view.Free, view.Allocated = max(view.Free, 0), slices.Clone(view.Allocated)
	for a, d := range h.devices {
		if d.up && view.HasAllocated && !slices.Contains(view.Allocated, a) {
			view.Allocated = append(view.Allocated, a)
			view.Free = max(view.Free-1, 0)
		}
	}
	h.s.Slots(view)
}

// Connect implements apiserver.Backend.
func (p *Proxy) Connect(s *apiserver.Session, r apiserver.ConnectRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[s]
	d := h.devices[r.Address]
	switch {
	case d != nil && d.up:
		s.Connection(r.Address, true, uint16(d.mtu), 0)
		h.tellSlotsLocked()
		return
	case d != nil: // the first request will be answered
		return
	case p.refusesLocked(r), !p.device.Features.Has(ble.FeatureActiveConnections) || r.Address == 0 || len(h.devices) >= maxDevices:
		s.Connection(r.Address, false, 0, 0)
		return
	}
	d = &device{notified: map[uint16]bool{}}
	h.devices[r.Address] = d
	h.links.Connect(r.Address, r.Type, p.id, func(err error) {
		if err != nil {
			h.ended(r.Address, d, connectCode(err))
		}
	})
}

// refusesLocked reports whether firmware of the proxy's version refuses the kind of a request: since 2025.8 the first
// one, since 2025.9 one without an address type.
func (p *Proxy) refusesLocked(r apiserver.ConnectRequest) bool {
	v, _ := ble.ParseVersion(p.device.ESPHomeVersion)
	return r.Legacy && v.AtLeast(2025, 8) || !r.HasType && v.AtLeast(2025, 9)
}

// Disconnect implements apiserver.Backend. The end is told by LinkDown, or by Connect.
func (p *Proxy) Disconnect(s *apiserver.Session, a ble.Address) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[s]
	if h.devices[a] == nil {
		s.Connection(a, false, 0, 0)
		return
	}
	h.links.Disconnect(a, func() {})
}

// dropAllLocked ends the host's links and attempts.
func (h *host) dropAllLocked() {
	for a := range h.devices {
		h.links.Disconnect(a, func() {})
	}
}

// ended: a link or an attempt of the host is over; d is nil for whichever there is.
func (h *host) ended(a ble.Address, d *device, code int32) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if cur := h.devices[a]; cur == nil || d != nil && cur != d {
		return
	}
	delete(h.devices, a)
	h.s.Connection(a, false, 0, code)
	h.tellSlotsLocked()
	if h.outdated && len(h.devices) == 0 {
		h.s.Close(errOutdated)
	}
}

// LinkUp implements links.Events. The host is told when the database is known, as by the firmware.
func (h *host) LinkUp(ble.Address, int) {}

// Resolved implements links.Events.
func (h *host) Resolved(a ble.Address, db *ble.Database, mtu int) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	d := h.devices[a]
	if d == nil || d.up {
		return
	}
	d.up, d.db, d.mtu = true, db, mtu
	h.s.Connection(a, true, uint16(mtu), 0)
	h.tellSlotsLocked()
}

// LinkDown implements links.Events.
func (h *host) LinkDown(a ble.Address, reason ble.DisconnectReason) {
	h.ended(a, nil, reasonCode(reason))
}

// DatabaseChanged implements links.Events. A proxy cannot tell a host that what it knows is wrong but by ending the
// link.
func (h *host) DatabaseChanged(a ble.Address, _ *ble.Database) {
	h.links.Disconnect(a, func() {})
}

// Notified implements links.Events.
func (h *host) Notified(a ble.Address, valueHandle uint16, value []byte) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if d := h.devices[a]; d != nil && d.notified[valueHandle] {
		h.s.NotifyData(a, valueHandle, value)
	}
}

// Paired implements links.Events: message 85 without a request, for links of the host.
func (h *host) Paired(a ble.Address, bonded bool) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if d := h.devices[a]; d != nil && d.up && bonded {
		h.s.Paired(a, true, 0)
	}
}

// Unsubscribed implements links.Events: as for DatabaseChanged.
func (h *host) Unsubscribed(a ble.Address, _ uint16, _ error) {
	h.links.Disconnect(a, func() {})
}

// connectCode is what message 69 says of an attempt that failed; 0 is no free slot.
func connectCode(err error) int32 {
	var ce *ble.ConnectError
	if !errors.As(err, &ce) {
		return codeLocal // called off
	}
	switch ce.Failure {
	case ble.ConnectNoSlot:
		return 0
	case ble.ConnectTimeout, ble.ConnectLost:
		return codeEstablish
	}
	return codeGATT
}

// reasonCode is what message 69 says of a link that ended.
func reasonCode(r ble.DisconnectReason) int32 {
	switch r {
	case ble.DisconnectTimeout:
		return codeTimeout
	case ble.DisconnectLocal:
		return codeLocal
	case ble.DisconnectRemote:
		return codeRemote
	case ble.DisconnectAuthentication:
		return codeAuthentication
	}
	return 0
}
