package share

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
)

// mergedName stands for {name} where all proxies are shared as one.
const mergedName = "all-proxies"

// maxBreaks is how often in an hour further daemons on the way may end the links of daemons behind this one. Loops form when
// somebody configures something; a proxy that tells of another daemon each time it comes back must not end links for ever.
const maxBreaks = 8

// Merged offers all real proxies as one device, which is there while any of them is. To its hosts it is one receiver
// with the connection slots of all: whoever feeds it passes each advertisement on once, and Links choose the proxy for
// each link. Its methods are goroutine-safe.
type Merged struct {
	srv *Server

	mu      lockorder.Mutex[lockorder.ShareMerged]
	members []*Member // that are online
	newest  Info      // of all that ever were online, the one with the newest firmware
	// features are those of all that ever were online: what one proxy lacks fails there. They do not shrink, since
	// hosts ask for them only once.
	features ble.Features
	// via are the daemons through which each of them came, by its ID, also while it is offline: what comes back has to find
	// itself there.
	via     map[string][]string
	breaks  []time.Time // of the last hour, see maxBreaks
	up      *Proxy      // nil: no proxy is online, or there is no port
	told    apiserver.ScannerStatus
	toldAny bool
}

// Member is one real proxy's part in a Merged, from Up to Down.
type Member struct {
	m *Merged
	// Under Merged.mu.
	scanner apiserver.ScannerStatus
	known   bool // scanner is known
	slots   ble.Slots
}

// NewMerged makes a Merged that nothing is part of yet. The Server is to offer nothing else.
func NewMerged(s *Server) *Merged { return &Merged{srv: s, via: map[string][]string{}} }

// Up adds a proxy that is online; the first one opens the port, share.base_port. The Member is to be ended by Down.
func (m *Merged) Up(info Info) (*Member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	grown, before := m.features|info.Features != m.features, m.through()
	m.features |= info.Features
	own := m.srv.cfg.Installation.String()
	m.via[info.ID] = slices.DeleteFunc(slices.Clone(info.Via), func(v string) bool { return strings.HasPrefix(v, own) })
	through, further := m.through(), false // one of them may use us
	for _, v := range through {
		further = further || !slices.Contains(before, v)
	}
	if m.newest.Version == "" || newer(info, m.newest) {
		m.newest = info
	}
	mb := &Member{m: m}
	if m.up == nil {
		p, err := m.srv.offer(&Proxy{port: int(m.srv.cfg.BasePort), device: m.device(), minor: m.newest.minor(), psk: m.srv.cfg.PSK})
		if err != nil {
			return nil, err
		}
		m.up, m.toldAny = p, false
	} else if grown || further {
		m.up.learn(m.device(), m.newest.minor(), grown, sync.OnceValue(func() bool { return further && m.mayBreak(time.Now()) }))
	} else if len(through) < len(before) {
		m.up.lessen(m.device())
	}
	m.members = append(m.members, mb)
	return mb, nil
}

// mayBreak reports whether links may be ended once more, and counts that. m.mu is held.
func (m *Merged) mayBreak(now time.Time) bool {
	m.breaks = slices.DeleteFunc(m.breaks, func(t time.Time) bool { return now.Sub(t) >= time.Hour })
	if len(m.breaks) >= maxBreaks {
		return false
	}
	m.breaks = append(m.breaks, now)
	return true
}

// device is what all proxies together say of themselves. Both addresses are made up: hosts tell devices and radios
// apart by them.
func (m *Merged) device() apiserver.Device {
	id := m.srv.cfg.Installation
	return apiserver.Device{
		Name: nameOf(m.srv.cfg.Names, mergedName), FriendlyName: "All proxies (shared)",
		MAC: madeUp("merged  ", id, 0).String(), BluetoothMAC: madeUp("merged b", id, 0).String(),
		ESPHomeVersion: m.newest.Version, Model: "merged proxies", Manufacturer: "bluez-esphome", Features: m.features,
		Via: append([]string{m.srv.cfg.Self}, m.through()...),
	}
}

// through lists the daemons through which any of the proxies comes.
func (m *Merged) through() (all []string) {
	for _, id := range slices.Sorted(maps.Keys(m.via)) {
		for _, v := range m.via[id] {
			if !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
	}
	return all
}

// Forget forgets through which daemons the proxy with that ID came: it is used no more. Hosts are told so, such as one
// that refused to use all proxies because it was among those daemons.
func (m *Merged) Forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.through())
	delete(m.via, id)
	if m.up != nil && len(m.through()) < before {
		m.up.lessen(m.device())
	}
}

// Adverts passes a batch of the merged air on.
func (m *Merged) Adverts(batch []ble.RawAdvert) {
	m.mu.Lock()
	up := m.up
	m.mu.Unlock()
	if up != nil {
		up.Adverts(batch)
	}
}

// Down ends what Up began. It does not wait.
func (mb *Member) Down() {
	m := mb.m
	m.mu.Lock()
	defer m.mu.Unlock()
	m.members = slices.DeleteFunc(m.members, func(o *Member) bool { return o == mb })
	if m.up == nil {
		return
	}
	if len(m.members) == 0 {
		m.up.Down()
		m.up = nil
		return
	}
	m.tellScannerLocked()
	m.tellSlotsLocked()
}

// Scanner takes the state of the real proxy's scanner.
func (mb *Member) Scanner(state ble.ScannerState, mode, configured ble.ScannerMode) {
	m := mb.m
	m.mu.Lock()
	defer m.mu.Unlock()
	mb.scanner, mb.known = apiserver.ScannerStatus{State: state, Mode: mode, Configured: configured}, true
	m.tellScannerLocked()
}

// tellScannerLocked tells the hosts that the scanner runs if any does, and actively if any is active. What does not
// change is not repeated: scanners stop and go with each connection.
func (m *Merged) tellScannerLocked() {
	var st apiserver.ScannerStatus
	known := false
	for _, mb := range m.members {
		if !mb.known {
			continue
		}
		o := mb.scanner
		if !known || o.State == ble.ScannerRunning && st.State != ble.ScannerRunning {
			st.State = o.State
		}
		known = true
		if o.Mode == ble.ScanActive {
			st.Mode = ble.ScanActive
		}
		if o.Configured == ble.ScanActive {
			st.Configured = ble.ScanActive
		}
	}
	if m.up == nil || !known || m.toldAny && st == m.told {
		return
	}
	m.told, m.toldAny = st, true
	m.up.Scanner(st.State, st.Mode, st.Configured)
}

// Slots takes what the real proxy says of its slots.
func (mb *Member) Slots(slots ble.Slots) {
	m := mb.m
	slots.Allocated = slices.Clone(slots.Allocated)
	m.mu.Lock()
	defer m.mu.Unlock()
	mb.slots = slots
	m.tellSlotsLocked()
}

// tellSlotsLocked adds up what is known. A peripheral can only have those of the proxies that hear it.
func (m *Merged) tellSlotsLocked() {
	if m.up == nil {
		return
	}
	sum := ble.Slots{HasAllocated: true}
	for _, mb := range m.members {
		s := mb.slots
		if !s.Known {
			continue
		}
		sum.Known = true
		sum.HasAllocated = sum.HasAllocated && s.HasAllocated
		sum.Limit += max(s.Limit, 0)
		sum.Free += max(s.Free, 0)
		sum.Allocated = append(sum.Allocated, s.Allocated...)
	}
	m.up.Slots(sum)
}

// WantsActive reports whether a host wants active scanning.
func (mb *Member) WantsActive() bool {
	m := mb.m
	m.mu.Lock()
	up := m.up
	m.mu.Unlock()
	return up != nil && up.WantsActive()
}

// Wanted is false: a proxy is none of all as one before it is online.
func (mb *Member) Wanted() bool { return false }

// learn changes what the device says of itself. Hosts that are to know it are made to come back, as by a restart, and ask again,
// when they hold no links any more: all hosts if the device can do more than before, else only daemons, since further ones are on
// the way to the device. If atOnce allows it, daemons come back in spite of links: each may be one of those on the way, and a
// loop would go on for as long as a link through it.
func (p *Proxy) learn(d apiserver.Device, minor uint32, more bool, atOnce func() bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.device, p.minor = d, minor
	p.recall(more, atOnce)
}

// lessen takes daemons out of those that the device comes through. A daemon is made to come back when it holds no links: one
// behind it may have refused what came from itself, and asks only that one.
func (p *Proxy) lessen(d apiserver.Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.device = d
	p.recall(false, func() bool { return false })
}

// recall makes daemons, or all hosts, come back as learn says. p.mu is held.
func (p *Proxy) recall(all bool, atOnce func() bool) {
	for s, h := range p.hosts {
		daemon := isDaemon(s)
		if !all && !daemon {
			continue
		}
		h.outdated = true
		if len(h.devices) == 0 || daemon && atOnce() {
			s.Close(errOutdated)
		}
	}
}

func isDaemon(s *apiserver.Session) bool {
	return strings.HasPrefix(s.ClientName(), apiwire.ClientName+" ")
}

// newer compares firmware: by the API first, then by the version, of which one that cannot be read counts as the
// oldest.
func newer(a, b Info) bool {
	if a.APIMinor != b.APIMinor {
		return a.APIMinor > b.APIMinor
	}
	v, _ := ble.ParseVersion(a.Version)
	w, _ := ble.ParseVersion(b.Version)
	return v.Compare(w) > 0
}
