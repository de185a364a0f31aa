package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/store"
)

// seatAfter is how long the session of a proxy that was found must last before it gets numbers of adapters and ports,
// which are few and kept for long: whoever is in the network can make up proxies.
const seatAfter = time.Minute

// admit decides on a session whose device told what it is, before anything of it is used. It gives the proxy its ID, and
// its name if it has none: nobody ever sees a proxy that is online without them.
func (s *Set) admit(p *Proxy, info apiconn.Info) error {
	mac, _ := ble.ParseAddress(info.MAC) // 0: it says none
	if p.instance != "" && info.Features == 0 {
		return s.refuse(p, "it is no Bluetooth proxy")
	}
	if why := s.loop(p, info.Via); why != "" {
		p.mu.Lock()
		id := p.id
		p.said.Via = nil
		p.mu.Unlock()
		if id != "" {
			s.cfg.Hooks.Unused(id)
		}
		if p.instance != "" {
			return s.refuse(p, why)
		}
		return &apiconn.RefusedError{Why: why}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	before := p.mac
	p.mu.Unlock()
	if before != 0 && mac != before && s.changePlaces(p, mac) {
		before = mac
	}
	if before != 0 && mac != before {
		return &apiconn.RefusedError{Why: fmt.Sprintf("another device answers: its MAC is %v, that of the one before was %v; if you replaced the board, "+
			"reload the configuration", showMAC(info), before)}
	}
	if mac != 0 {
		if err := s.sameDevice(p, mac); err != nil {
			return err
		}
		if before == 0 {
			s.took(p, mac)
		}
	}
	id := "at " + HostPort(p.cfg)
	if mac != 0 {
		id = mac.String()
	} else if p.instance != "" {
		id = "found at " + HostPort(p.cfg)
	}
	info.Via = s.others(info.Via)
	p.mu.Lock()
	p.id, p.mac, p.said, p.let = id, mac, info, true
	p.mu.Unlock()
	s.adopt(p, info.Name)
	s.cfg.Board.Changed(p, "Name")
	return nil
}

// loop says why a device that comes through these daemons is not to be used: it is, or has among those that it is made of, what
// this daemon shares. Else it is "".
//
// Daemons that share all proxies as one and begin to use each other in one moment each find themselves in what the other
// one shares. If all of them refused, all would begin anew, and so on. So whoever used the device before, and has a lower
// address than the daemon that shares it, goes on. In every ring of daemons there is one with a higher address than the
// next, which refuses; each of the ring is told of itself, as all share what they use.
func (s *Set) loop(p *Proxy, via []string) string {
	own := s.cfg.Store.Address().String()
	for i, v := range via {
		if strings.HasPrefix(v, own) {
			if v != apiwire.Self(own) {
				return fmt.Sprintf("the daemon on %s has the same address as this one, as if its state_dir were a copy of this one's: on one of the two, stop it, "+
					"move the folder (%s) away, and start it again", Chain(via[i:i+1]), s.cfg.Live().StateDir)
			}
			if i == 0 {
				return "this daemon itself shares it: remove it from proxies"
			}
			if s.cfg.Live().Share.Offer == config.ShareMerged && own < via[0] && p.through(via[0]) {
				return ""
			}
			return fmt.Sprintf("a loop: it comes from this daemon, through that on %s: remove it from proxies here, or this daemon's from those there", Chain(via[:i]))
		}
	}
	return ""
}

// others is those daemons without this one, which is among them where another one has a part of a ring.
func (s *Set) others(via []string) []string {
	own := s.cfg.Store.Address().String()
	return slices.DeleteFunc(slices.Clone(via), func(v string) bool { return strings.HasPrefix(v, own) })
}

// through reports whether the device was used before and came through that daemon first.
func (p *Proxy) through(daemon string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.said.Via) > 0 && p.said.Via[0] == daemon
}

// Chain names the hosts of daemons, the nearest first.
func Chain(via []string) string {
	names := make([]string, len(via))
	for i, v := range via {
		_, names[i], _ = strings.Cut(v, " ")
	}
	return strings.Join(names, ", then ")
}

// changePlaces has two configured proxies be each other, if the device at the address of p is the one that was at that
// of the other, which is away: routers exchange addresses. Bonds, adapters and names go with the device. s.mu is held.
func (s *Set) changePlaces(p *Proxy, mac ble.Address) bool {
	for _, q := range s.list {
		if q == p || q.instance != "" || p.instance != "" || q.MAC() != mac || mac == 0 || q.here() {
			continue
		}
		// One lock at a time; nobody else changes who they are without s.mu.
		pIs, qIs := p.self(), q.self()
		if p.cfg.Name != "" || q.cfg.Name != "" {
			pIs.name, qIs.name = qIs.name, pIs.name // names of the configuration stay
		}
		p.become(qIs)
		q.become(pIs)
		s.replaced(p, pIs.mac, mac, "they are taken to have changed places: each keeps its bonds")
		return true
	}
	return false
}

// self is who a proxy is.
type self struct {
	mac      ble.Address
	id, name string
}

func (p *Proxy) self() self {
	p.mu.Lock()
	defer p.mu.Unlock()
	return self{mac: p.mac, id: p.id, name: p.name}
}

func (p *Proxy) become(s self) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mac, p.id, p.name = s.mac, s.id, s.name
}

// replaced says that another device answers at the address of p, in the log and, as long as it does, in status.
func (s *Set) replaced(p *Proxy, was, now ble.Address, remark string) {
	s.cfg.Logger.Warn("Another device answers at the address of a proxy; set mac: to refuse that", "proxy", p.Label(), "address", HostPort(p.cfg),
		"was", was, "now", now, "remark", remark)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved, p.movedTo = fmt.Sprintf("Another device answers at this address: MAC %v, and it was %v (%s); set mac: in its entry to refuse that", now, was, remark), now
}

func showMAC(info apiconn.Info) string {
	if info.MAC == "" {
		return "not told"
	}
	return info.MAC
}

// sameDevice finds another proxy of the set with that MAC: of two ways to one device the newer ends for good. Only a
// configured proxy makes one that was found go. s.mu is held.
func (s *Set) sameDevice(p *Proxy, mac ble.Address) error {
	for _, q := range s.list {
		if q == p || q.MAC() != mac || !q.here() {
			continue
		}
		if q.instance != "" && p.instance == "" {
			s.background(func() {
				s.cfg.Hooks.Refused(q, fmt.Sprintf("it is the same device as %q, which is configured", p.Label()))
			})
			// As soon as that has left, this one tries again.
			return &apiconn.RefusedError{Why: "the same device was found by multicast DNS; its session is being ended", Final: true}
		}
		return s.refuse(p, fmt.Sprintf("the same device as %q (MAC %v): remove one of the two entries", q.Label(), mac))
	}
	if p.instance == "" {
		return nil
	}
	// A configured proxy that is away is not taken for whoever claims its MAC.
	meant := ""
	for _, q := range s.list {
		if q.instance == "" && (q.cfg.HasMAC && q.cfg.MAC == mac || q.MAC() == mac) {
			meant = q.Label()
		}
	}
	s.cfg.Store.Proxies(func(known ble.Address, info store.ProxyInfo) {
		for _, q := range s.list {
			if q.instance == "" && known == mac && info.Endpoint == HostPort(q.cfg) {
				meant = q.Label()
			}
		}
	})
	if meant != "" {
		return s.refuse(p, fmt.Sprintf("it claims to be %q (MAC %v), which is configured elsewhere", meant, mac))
	}
	return nil
}

// refuse ends a proxy for good, until it is reconsidered; one that was found is dropped.
func (s *Set) refuse(p *Proxy, why string) error {
	if p.instance != "" {
		s.background(func() { s.cfg.Hooks.Refused(p, why) })
	}
	return &apiconn.RefusedError{Why: why, Final: true}
}

// took notes that a configured proxy has another MAC than in an earlier run: the board was replaced, and the new one
// takes the numbers of the old one. s.mu is held.
func (s *Set) took(p *Proxy, mac ble.Address) {
	if p.instance != "" {
		return
	}
	var old ble.Address
	known := false
	s.cfg.Store.Proxies(func(m ble.Address, info store.ProxyInfo) {
		if m == mac {
			known = true
		}
		if m != mac && info.Endpoint == HostPort(p.cfg) {
			old = m
		}
	})
	switch {
	case old == 0:
	case known:
		s.replaced(p, old, mac, "since the last run")
	default:
		s.replaced(p, old, mac, "since the last run: it takes the numbers of the other one")
		s.cfg.Store.MoveProxy(old, mac)
	}
}

// settle gives a proxy that is online its numbers: a configured one and one that had them before at once, one that was
// found for the first time once its session has lasted.
func (s *Set) settle(p *Proxy) {
	p.mu.Lock()
	mac, instance := p.mac, p.instance
	p.mu.Unlock()
	if instance == "" || s.remembered(mac) {
		s.seat(p)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seat = time.AfterFunc(seatAfter, func() {
		p.mu.Lock()
		late := p.seat == nil // it went offline
		p.seat = nil
		p.mu.Unlock()
		if !late {
			s.seat(p)
			s.cfg.Hooks.Online(p)
		}
	})
}

func (s *Set) remembered(mac ble.Address) (yes bool) {
	s.cfg.Store.Proxies(func(m ble.Address, _ store.ProxyInfo) { yes = yes || m == mac })
	return yes
}

// seat remembers a proxy and gives it its adapter, if it is to have one.
func (s *Set) seat(p *Proxy) {
	p.mu.Lock()
	mac, id := p.mac, p.id
	known := store.ProxyInfo{Name: p.name, Endpoint: HostPort(p.cfg)}
	known.Bluetooth, _ = ble.ParseAddress(p.info.BluetoothMAC)
	p.mu.Unlock()
	perProxy := s.cfg.Live().Adapters == config.AdaptersPerProxy
	if mac == 0 {
		if perProxy {
			s.cfg.Logger.Warn("The proxy has no adapter of its own: it does not say its MAC", "proxy", p.Label())
		}
		return
	}
	s.cfg.Store.SetProxyInfo(mac, known, time.Now())
	if !perProxy {
		return
	}
	own := s.cfg.Adapters.Attach(mac)
	if own == nil {
		return
	}
	own.Table.ProxyUp(id)
	p.mu.Lock()
	p.own = own
	p.mu.Unlock()
	s.cfg.Hooks.AdapterUsed(own, known)
	s.cfg.Hooks.AdapterOnline(own, true)
}

// adopt gives a proxy that has no name for people one. s.mu is held.
func (s *Set) adopt(p *Proxy, claimed string) {
	if p.Name() != "" {
		return
	}
	base := claimed
	if base == "" {
		base = HostPort(p.cfg)
	}
	name := base
	for i := 2; s.taken(p, name); i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name = name
}

// taken reports whether a name is another proxy's, or, for one that was found, whether the configuration means somebody
// by it. s.mu is held.
func (s *Set) taken(p *Proxy, name string) bool {
	for _, q := range s.list {
		if q == p {
			continue
		}
		if q.Name() == name || p.instance != "" && q.instance == "" && strings.EqualFold(hostLabel(q.cfg.Host), name) {
			return true
		}
	}
	return p.instance != "" && s.meant(name)
}
