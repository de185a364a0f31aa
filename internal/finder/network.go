package finder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/mdns"
)

// Proxies that were found are strangers' suggestions of whom to connect to. How often that is done is bounded by
// target, so that nobody can be flooded with our attempts, however many names point to him.
const (
	// perAddress is the least time between two attempts at one address.
	perAddress = 250 * time.Millisecond
	// firstPause is the pause after an attempt at one address and port; it doubles with each further one that brings no
	// session.
	firstPause = time.Second
	maxPause   = 5 * time.Minute
	// maxTargets bounds what is remembered; those whose pause is over go first.
	maxTargets = 1024
)

var (
	errNotLocal  = errors.New("its host name is not below .local: add the proxy to proxies: if it is to be used")
	errNotOnLink = errors.New("its address is not in a network of this host: add the proxy to proxies: if it is to be used")
	errTooSoon   = errors.New("its address was tried just now")
)

// target is an address and port that was tried.
type target struct {
	tries int
	next  time.Time
	good  bool // a proxy answered there: it may be tried as often as a configured one
}

// targets paces the attempts at strangers' addresses. It is goroutine-safe.
type targets struct {
	mu      lockorder.Mutex[lockorder.Leaf]
	ports   map[netip.AddrPort]*target
	address map[netip.Addr]time.Time // when it may be tried again
}

func newTargets() *targets {
	return &targets{ports: map[netip.AddrPort]*target{}, address: map[netip.Addr]time.Time{}}
}

// try reports whether an attempt may be made now, and counts it.
func (t *targets) try(a netip.AddrPort, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	p := t.ports[a]
	if now.Before(t.address[a.Addr()]) || p != nil && !p.good && now.Before(p.next) || len(t.ports) >= maxTargets && p == nil {
		return false
	}
	if p == nil {
		p = &target{}
		t.ports[a] = p
	}
	p.next = now.Add(min(firstPause<<min(p.tries, 20), maxPause))
	p.tries++
	t.address[a.Addr()] = now.Add(perAddress)
	return true
}

// good notes that there is a session with a proxy at a target.
func (t *targets) good(a netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.ports[a]; p != nil {
		p.good = true
	}
}

// expire drops what has no effect any more. t.mu is held.
func (t *targets) expire(now time.Time) {
	if len(t.ports) < maxTargets && len(t.address) < maxTargets {
		return
	}
	for a, p := range t.ports {
		if now.After(p.next.Add(maxPause)) {
			delete(t.ports, a)
		}
	}
	for a, next := range t.address {
		if now.After(next) {
			delete(t.address, a)
		}
	}
}

// Pace implements fleet.Network.
func (f *Finder) Pace(ctx context.Context) error { return f.pacer.Wait(ctx) }

// Resolve implements fleet.Network. The host of a proxy that was found must be a local one, and its addresses of
// networks that this host is in.
func (f *Finder) Resolve(ctx context.Context, p *fleet.Proxy, host string) ([]netip.Addr, error) {
	if _, found := p.Found(); !found {
		if !f.active() {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
		return f.mdns.Resolve(ctx, net.DefaultResolver, host)
	}
	if !localHost(host) {
		return nil, errNotLocal
	}
	addrs, err := f.mdns.Lookup(ctx, host) // nobody but multicast DNS: that is who named it
	if err != nil {
		return nil, err
	}
	return f.allowed(addrs, p.Config().Port)
}

// allowed picks the addresses that may be tried now.
func (f *Finder) allowed(addrs []netip.Addr, port uint16) ([]netip.Addr, error) {
	near := f.onLink(addrs)
	if len(near) == 0 {
		return nil, errNotOnLink
	}
	now := time.Now()
	for _, a := range near { // one at a time: they are one device's, if they are anybody's
		if f.targets.try(netip.AddrPortFrom(a, port), now) {
			return []netip.Addr{a}, nil
		}
	}
	return nil, errTooSoon
}

func localHost(host string) bool {
	return strings.HasSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".local")
}

// onLink gives the addresses that are in a network of one of the interfaces that are used.
func (f *Finder) onLink(addrs []netip.Addr) []netip.Addr {
	networks, err := f.networks()
	if err != nil {
		f.log.Warn("Cannot list this host's networks: no proxy that was found is used", "error", err)
		return nil
	}
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
		return !slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a.Unmap().WithZone("")) })
	})
}

func (f *Finder) networks() ([]netip.Prefix, error) {
	interfaces, err := f.interfaces()
	if err != nil {
		return nil, err
	}
	out := []netip.Prefix{netip.MustParsePrefix("fe80::/10")}
	for _, i := range interfaces {
		list, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", i.Name, err)
		}
		for _, a := range list {
			if n, ok := a.(*net.IPNet); ok {
				ip, _ := netip.AddrFromSlice(n.IP)
				bits, _ := n.Mask.Size()
				if ip.Is4In6() && bits > 32 {
					bits -= 96
				}
				if p, err := ip.Unmap().Prefix(bits); err == nil {
					out = append(out, p)
				}
			}
		}
	}
	return out, nil
}

// OfThisHost reports whether an instance has an address of this host.
func OfThisHost(svc mdns.Service) bool {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return true // better none than a loop of our own
	}
	for _, l := range list {
		if n, ok := l.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && contains(svc.Addrs, ip) {
				return true
			}
		}
	}
	return false
}
