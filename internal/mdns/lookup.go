package mdns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Local reports whether multicast DNS resolves a host name: one below .local, or without a dot.
func Local(host string) bool {
	h := fold(host)
	if _, err := netip.ParseAddr(h); err == nil || h == "localhost" {
		return false
	}
	return strings.HasSuffix(h, ".local") || !strings.Contains(h, ".")
}

// errNobody is what an administrator reads who wrote the name of a proxy that is in another network.
var errNobody = errors.New("nobody answers by multicast DNS, which does not cross routers")

// Lookup asks for the addresses of a host until there is an answer or ctx ends; .local is added to a name without a
// dot. An answer that was heard within the last two seconds counts.
func (c *Client) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	name := fold(host)
	if !strings.Contains(name, ".") {
		name += ".local"
	}
	a := &ask{got: make(chan struct{}, 1)} // one wake-up
	c.mu.Lock()
	known := slices.Clone(c.lately(name, time.Now()))
	if known == nil {
		c.asks[name] = append(c.asks[name], a)
	}
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	defer c.withdraw(name, a)
	pause := firstQuery
	for {
		c.ask(question{name, dnsmessage.TypeA}, question{name, dnsmessage.TypeAAAA})
		timer := time.NewTimer(pause)
		select {
		case <-a.got:
			timer.Stop()
			wait(ctx, settle)
			c.mu.Lock()
			defer c.mu.Unlock()
			return slices.Clone(c.recent[name].addrs), nil
		case <-ctx.Done():
			timer.Stop()
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, errNobody
			}
			return nil, ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, maxHostQuery)
	}
}

func (c *Client) withdraw(name string, a *ask) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rest := slices.DeleteFunc(c.asks[name], func(b *ask) bool { return a == b })
	if len(rest) == 0 {
		delete(c.asks, name)
	} else {
		c.asks[name] = rest
	}
}

// A System is the machine's resolver; *net.Resolver is one.
type System interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

var _ System = (*net.Resolver)(nil)

// Resolve looks a host up. Local names are asked by multicast DNS and from the system at the same time, with and
// without .local, and the first answer with an address counts; other names are asked from the system.
func (c *Client) Resolve(ctx context.Context, system System, host string) ([]netip.Addr, error) {
	if !Local(host) {
		return system.LookupNetIP(ctx, "ip", host)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ask := func(name string) func() ([]netip.Addr, error) {
		return func() ([]netip.Addr, error) { return system.LookupNetIP(ctx, "ip", name) }
	}
	ways := []func() ([]netip.Addr, error){
		func() ([]netip.Addr, error) { return c.Lookup(ctx, host) },
		ask(host),
	}
	if short, ok := strings.CutSuffix(fold(host), ".local"); ok {
		ways = append(ways, ask(short))
	}
	type answer struct {
		addrs []netip.Addr
		err   error
	}
	answers := make(chan answer, len(ways)) // room for all: late answers are not waited for
	for _, way := range ways {
		go func() {
			addrs, err := way()
			answers <- answer{slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !usable(a) }), err}
		}()
	}
	var errs []error
	for range ways {
		a := <-answers
		if len(a.addrs) > 0 {
			return a.addrs, nil
		}
		errs = append(errs, a.err)
	}
	return nil, errors.Join(errs...)
}
