package gatt

import (
	"slices"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/lockorder"
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

	mu        lockorder.Mutex[lockorder.Owners] // never held while an owner is told
	exclusive bool
	owners    []*Owner // in the order in which they came
	devices   map[ble.Address]*ownedDevice
}

// ownedDevice is what the owners want of one device. Its fields are under Owners.mu.
type ownedDevice struct {
	uses map[*Owner]*use
	subs map[uint16]map[*Owner]*ownedSub // by value handle
	// asked is what the Manager was told is wanted of each characteristic: the union of what those want that count.
	asked map[uint16]uint16
	used  bool // uses was not empty when Config.Used was told last
	// Of the present link, as the Manager told it.
	up  bool
	mtu int
	db  *ble.Database
	// cccds are the value handles of the characteristics, by the handle of their CCCD.
	cccds map[uint16]uint16
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
	// Party says who it is, the same in another session and another run: bonds belong to it. Empty is nobody in
	// particular.
	Party string
	// Guest may touch only what it holds itself, or what nobody else holds and nobody else bonded: see Owner.mayTouch.
	Guest bool
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

// NewOwners makes a Manager for several owners. Config.Events is told of every link, before the owners are, and may be
// nil here. Exclusive refuses an owner a device that another one holds.
func NewOwners(cfg Config, exclusive bool) *Owners {
	s := &Owners{exclusive: exclusive, all: cfg.Events, devices: make(map[ble.Address]*ownedDevice)}
	cfg.Events = ownerEvents{s}
	s.m = New(cfg)
	s.m.parties = parties{unarmed: s.unarmed, bonder: s.onlyHolder}
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

// Close lets go of everything that the owner holds. It is told of nothing that happens from then on; calls of Connect
// that are pending are answered with ble.ErrCanceled.
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
		d.forgetSubsLocked(o)
		if u := d.uses[o]; u != nil {
			u.cancelLocked(s.m)
			delete(d.uses, o)
			if len(d.uses) == 0 {
				s.m.Disconnect(a, func() {})
			}
		}
		s.changedLocked(a, d)
	}
}

func (s *Owners) deviceLocked(a ble.Address) *ownedDevice {
	d := s.devices[a]
	if d == nil {
		d = &ownedDevice{uses: make(map[*Owner]*use), subs: make(map[uint16]map[*Owner]*ownedSub), asked: make(map[uint16]uint16)}
		s.devices[a] = d
	}
	return d
}

// changedLocked is called after every change of who uses a device or what is subscribed: it has the Manager know what
// is wanted now, tells Config.Used, and forgets a device of which there is nothing to remember.
func (s *Owners) changedLocked(a ble.Address, d *ownedDevice) {
	s.syncLocked(a, d)
	if used := len(d.uses) > 0; used != d.used {
		d.used = used
		if f := s.m.cfg.Used; f != nil {
			s.m.events.post(func() { f(a, used) })
		}
	}
	if len(d.uses) == 0 && len(d.subs) == 0 && !d.up && s.devices[a] == d {
		delete(s.devices, a)
	}
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
	return d != nil && d.othersLocked(o) > 0
}

// othersLocked is how many owners but o hold the link or wait for it.
func (d *ownedDevice) othersLocked(o *Owner) int {
	n := len(d.uses)
	if d.uses[o] != nil {
		n--
	}
	return n
}

// holdsLocked reports whether o was told that the link is up.
func (d *ownedDevice) holdsLocked(o *Owner) bool {
	return d != nil && d.uses[o] != nil && d.uses[o].told
}
