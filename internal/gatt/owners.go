package gatt

import (
	"maps"
	"slices"
	"sync"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
)

// Owners lets several parties, such as the programs on D-Bus and each host that shares a proxy, hold the links of one
// Manager. A link comes up when the first owner asks for it and ends when the last one lets go; each owner is told
// only of links that it holds, and of notifications that it subscribed:
//
//	owner A: Connect ── LinkUp ───────────── Disconnect ── LinkDown
//	owner B:              Connect ── LinkUp ─────────────────────────── Disconnect ── LinkDown
//	link:        dialling ── up ────────────────────────────────────────────────────── down
//
// Its methods are goroutine-safe and return at once.
type Owners struct {
	m   *Manager
	all links.Events

	mu        sync.Mutex // taken before Manager.mu, never while an owner is told
	exclusive bool
	owners    []*Owner // in the order in which they came
	devices   map[ble.Address]*ownedDevice
}

// ownedDevice is what the owners want of one device. Its fields are under Owners.mu.
type ownedDevice struct {
	uses map[*Owner]*use
	subs map[uint16]map[*Owner]bool // by value handle
	// Of the present link, as the Manager told it.
	up  bool
	mtu int
	db  *ble.Database
}

// use is one owner's hold on a device.
type use struct {
	told    bool // LinkUp was told, and LinkDown was not
	pending []*pendingConnect
	pairing int
}

// pendingConnect is one call of Connect that is not answered.
type pendingConnect struct {
	done     func(error)
	answered bool
}

// OwnerConfig is one owner. Events must not be nil.
type OwnerConfig struct {
	Name   string // for Holders
	Events links.Events
	// KeepSubscriptions: subscriptions outlive the owner's hold on the link and are armed again with the next one, as
	// for programs on D-Bus. Otherwise they end with it, as on a proxy.
	KeepSubscriptions bool
}

// Owner is one party's hold on the links of the Manager.
type Owner struct {
	s   *Owners
	cfg OwnerConfig
	// closed is under Owners.mu.
	closed bool
}

// NewOwners makes a Manager for several owners. Config.Events is told of every link, before the owners are, and may be nil
// here. Exclusive refuses an owner a device that another one holds.
func NewOwners(cfg Config, exclusive bool) *Owners {
	s := &Owners{exclusive: exclusive, all: cfg.Events, devices: make(map[ble.Address]*ownedDevice)}
	cfg.Events = ownerEvents{s}
	s.m = New(cfg)
	return s
}

// SetExclusive changes what NewOwners was told. Links that are shared stay so.
func (s *Owners) SetExclusive(exclusive bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exclusive = exclusive
}

// Manager is what the owners hold links of; proxies and their reports are its affair. Links are to be asked for through
// owners only.
func (s *Owners) Manager() *Manager { return s.m }

var _ links.Links = (*Owner)(nil)

// Owner makes another owner.
func (s *Owners) Owner(cfg OwnerConfig) *Owner {
	o := &Owner{s: s, cfg: cfg}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners = append(s.owners, o)
	return o
}

// Close lets go of everything that the owner holds. It is told of nothing that happens from then on; calls of Connect that
// are pending are answered with ble.ErrCanceled.
func (o *Owner) Close() {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.closed {
		return
	}
	o.closed = true
	s.owners = slices.DeleteFunc(s.owners, func(p *Owner) bool { return p == o })
	for a, d := range s.devices {
		s.dropSubsLocked(o, a, d)
		u := d.uses[o]
		if u == nil {
			continue
		}
		u.cancel(s.m)
		delete(d.uses, o)
		if len(d.uses) == 0 {
			s.m.Disconnect(a, func() {})
		}
		s.tidyLocked(a, d)
	}
}

func (s *Owners) deviceLocked(a ble.Address) *ownedDevice {
	d := s.devices[a]
	if d == nil {
		d = &ownedDevice{uses: make(map[*Owner]*use), subs: make(map[uint16]map[*Owner]bool)}
		s.devices[a] = d
	}
	return d
}

func (s *Owners) tidyLocked(a ble.Address, d *ownedDevice) {
	if len(d.uses) == 0 && len(d.subs) == 0 && !d.up && s.devices[a] == d {
		delete(s.devices, a)
	}
}

// cancel answers the pending calls of Connect.
func (u *use) cancel(m *Manager) {
	for _, p := range u.pending {
		p.answered = true
		m.events.post(func() { p.done(ble.ErrCanceled) })
	}
	u.pending = nil
}

// Connect is [Manager.Connect]. A link that another owner holds is shared, or, where they are exclusive, refused.
func (o *Owner) Connect(a ble.Address, t ble.AddressType, via string, done func(error)) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.closed {
		s.m.events.post(func() { done(ble.ErrCanceled) })
		return
	}
	d := s.deviceLocked(a)
	u := d.uses[o]
	if u == nil && s.exclusive && len(d.uses) > 0 {
		s.m.events.post(func() {
			done(&ble.ConnectError{Failure: ble.ConnectRefused, Detail: "another host that shares the proxies uses the device"})
		})
		return
	}
	if u == nil {
		u = &use{}
		d.uses[o] = u
	}
	p := &pendingConnect{done: done}
	u.pending = append(u.pending, p)
	s.m.Connect(a, t, via, func(err error) { o.connected(a, d, u, p, err) })
}

// connected takes the Manager's answer to a call of Connect.
func (o *Owner) connected(a ble.Address, d *ownedDevice, u *use, p *pendingConnect, err error) {
	s := o.s
	s.mu.Lock()
	if p.answered { // called off meanwhile
		s.mu.Unlock()
		return
	}
	p.answered = true
	u.pending = slices.DeleteFunc(u.pending, func(q *pendingConnect) bool { return q == p })
	join := err == nil && !u.told && d.up
	if join {
		u.told = true
		if len(d.uses) > 1 {
			s.rearmLocked(o, a, d)
		}
	}
	mtu, db := d.mtu, d.db
	if !u.told && len(u.pending) == 0 && d.uses[o] == u {
		delete(d.uses, o)
		s.tidyLocked(a, d)
	}
	s.mu.Unlock()
	if join {
		o.cfg.Events.LinkUp(a, mtu)
	}
	p.done(err)
	if join && db != nil {
		o.cfg.Events.Resolved(a, db, mtu)
	}
}

// CancelConnect calls off what the owner has pending: its calls of Connect, or of Pair.
func (o *Owner) CancelConnect(a ble.Address) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[a]
	if d == nil || d.uses[o] == nil {
		return
	}
	u := d.uses[o]
	switch {
	case len(d.uses) == 1:
		s.m.CancelConnect(a)
	case !u.told:
		u.cancel(s.m)
		delete(d.uses, o)
	case u.pairing > 0:
		s.m.cancelPair(a)
	}
}

// Disconnect lets go of the link to a, or of the attempt at one; done follows LinkDown.
func (o *Owner) Disconnect(a ble.Address, done func()) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[a]
	if d == nil || d.uses[o] == nil {
		s.m.events.post(done)
		return
	}
	u := d.uses[o]
	if len(d.uses) == 1 { // LinkDown, and the answer to Connect, come from the Manager
		s.m.Disconnect(a, done)
		return
	}
	u.cancel(s.m)
	delete(d.uses, o)
	if !o.cfg.KeepSubscriptions {
		s.dropSubsLocked(o, a, d)
	} else {
		s.muteLocked(o, a, d)
	}
	told := u.told
	s.m.events.post(func() {
		if told {
			o.cfg.Events.LinkDown(a, ble.DisconnectLocal)
		}
		done()
	})
}

// holds reports whether the owner was told that the link is up.
func (o *Owner) holds(a ble.Address) bool {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	d := o.s.devices[a]
	return d != nil && d.uses[o] != nil && d.uses[o].told
}

// Holders names the owners that hold the link to a or wait for it, in the order in which they came.
func (s *Owners) Holders(a ble.Address) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	if d := s.devices[a]; d != nil {
		for _, o := range s.owners {
			if d.uses[o] != nil {
				out = append(out, o.cfg.Name)
			}
		}
	}
	return out
}

// Shared reports whether another owner, too, holds the link to a or waits for it.
func (o *Owner) Shared(a ble.Address) bool {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	d := o.s.devices[a]
	if d == nil {
		return false
	}
	n := len(d.uses)
	if d.uses[o] != nil {
		n--
	}
	return n > 0
}

// ownerEvents is told by the Manager and tells the owners.
type ownerEvents struct{ s *Owners }

var _ links.Events = ownerEvents{}

// told lists the owners that hold the link to a, in the order in which they came.
func (s *Owners) toldLocked(d *ownedDevice) []*Owner {
	var out []*Owner
	for _, o := range s.owners {
		if u := d.uses[o]; u != nil && u.told {
			out = append(out, o)
		}
	}
	return out
}

// LinkUp: the owners are told as their calls of Connect are answered.
func (e ownerEvents) LinkUp(a ble.Address, mtu int) {
	e.s.mu.Lock()
	d := e.s.deviceLocked(a)
	d.up, d.mtu, d.db = true, mtu, nil
	e.s.mu.Unlock()
	if e.s.all != nil {
		e.s.all.LinkUp(a, mtu)
	}
}

// Resolved implements Events.
func (e ownerEvents) Resolved(a ble.Address, db *ble.Database, mtu int) {
	e.database(a, db, mtu, func(ev links.Events) { ev.Resolved(a, db, mtu) })
}

// DatabaseChanged implements Events.
func (e ownerEvents) DatabaseChanged(a ble.Address, db *ble.Database) {
	e.database(a, db, 0, func(ev links.Events) { ev.DatabaseChanged(a, db) })
}

func (e ownerEvents) database(a ble.Address, db *ble.Database, mtu int, tell func(links.Events)) {
	e.s.mu.Lock()
	d := e.s.deviceLocked(a)
	d.db = db
	if mtu != 0 {
		d.mtu = mtu
	}
	told := e.s.toldLocked(d)
	e.s.mu.Unlock()
	e.each(told, tell)
}

func (e ownerEvents) each(told []*Owner, tell func(links.Events)) {
	if e.s.all != nil {
		tell(e.s.all)
	}
	for _, o := range told {
		tell(o.cfg.Events)
	}
}

// LinkDown implements Events.
func (e ownerEvents) LinkDown(a ble.Address, reason ble.DisconnectReason) {
	s := e.s
	s.mu.Lock()
	d := s.deviceLocked(a)
	d.up, d.db = false, nil
	told := s.toldLocked(d)
	for _, o := range told {
		u := d.uses[o]
		u.told, u.pairing = false, 0
		if len(u.pending) == 0 {
			delete(d.uses, o)
		}
		if !o.cfg.KeepSubscriptions {
			s.dropSubsLocked(o, a, d)
		}
	}
	s.tidyLocked(a, d)
	s.mu.Unlock()
	e.each(told, func(ev links.Events) { ev.LinkDown(a, reason) })
}

// Notified tells those who subscribed.
func (e ownerEvents) Notified(a ble.Address, valueHandle uint16, value []byte) {
	s := e.s
	s.mu.Lock()
	d := s.deviceLocked(a)
	told := s.toldLocked(d)
	if subs := d.subs[valueHandle]; len(subs) > 0 {
		told = slices.DeleteFunc(told, func(o *Owner) bool { return !subs[o] })
	}
	s.mu.Unlock()
	e.each(told, func(ev links.Events) { ev.Notified(a, valueHandle, value) })
}

// Paired tells everybody: a bond is the peripheral's, whoever holds the link.
func (e ownerEvents) Paired(a ble.Address, bonded bool) {
	e.s.mu.Lock()
	owners := slices.Clone(e.s.owners)
	e.s.mu.Unlock()
	e.each(owners, func(ev links.Events) { ev.Paired(a, bonded) })
}

// dropSubsLocked ends the owner's subscriptions.
func (s *Owners) dropSubsLocked(o *Owner, a ble.Address, d *ownedDevice) {
	for _, h := range slices.Sorted(maps.Keys(d.subs)) {
		s.unsubscribeLocked(o, a, d, h)
	}
}

// muteLocked ends the notifications that only the owner wants, and keeps its subscriptions.
func (s *Owners) muteLocked(o *Owner, a ble.Address, d *ownedDevice) {
	for _, h := range slices.Sorted(maps.Keys(d.subs)) {
		if subs := d.subs[h]; subs[o] && len(subs) == 1 {
			s.m.Unsubscribe(a, h)
		}
	}
}

// rearmLocked enables what the owner subscribed before it joined the link of another.
func (s *Owners) rearmLocked(o *Owner, a ble.Address, d *ownedDevice) {
	for _, h := range slices.Sorted(maps.Keys(d.subs)) {
		if d.subs[h][o] {
			s.m.Subscribe(a, h, func(err error) {
				if err != nil {
					s.m.log.Warn("cannot subscribe again", "device", a, "handle", h, "error", err)
				}
			})
		}
	}
}
