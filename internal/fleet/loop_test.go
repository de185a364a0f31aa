package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
)

// A node is a daemon that shares all its proxies as one and uses what another one shares so.
type node struct {
	*Set
	Hooks    // of which a loop asks for Unused only
	uses, by *node
	used     bool
	told     []string // what it says that its proxies come through
}

// name is what daemons behind it know it by.
func (n *node) name() string { return apiwire.Self(n.cfg.Store.Address().String()) }

// Unused implements Hooks.
func (n *node) Unused(string) { n.told = nil }

// shares is what it says of all its proxies as one.
func (n *node) shares() []string { return append([]string{n.name()}, n.told...) }

// asks has the daemon ask what the other one shares and decide whether to use it.
func (n *node) asks(via []string) {
	n.used = n.admit(n.list[0], apiconn.Info{
		Name: "all-proxies-shared", MAC: ble.Address(1).String(), Features: ble.FeatureActiveConnections, Via: via,
	}) == nil
}

// up is the session's, once it may be used. If the daemon's proxies come through further ones, whoever uses them has to
// ask again, as in package share.
func (n *node) up(via []string) {
	if !n.used {
		return
	}
	before := n.told
	n.told = n.others(via)
	if n.by.used && slices.ContainsFunc(n.told, func(v string) bool { return !slices.Contains(before, v) }) {
		via := n.shares()
		n.by.asks(via)
		n.by.up(via)
	}
}

// ring makes so many daemons of which each uses the next, the one with the lowest address first or last.
func ring(t *testing.T, size int, rising bool) []*node {
	nodes := make([]*node, size)
	for i := range nodes {
		s, _ := newSet(t, config.Proxy{Host: "192.0.2.1", Port: 16053})
		s.cfg.Live().Share.Offer = config.ShareMerged
		nodes[i] = &node{Set: s}
		s.cfg.Hooks = nodes[i]
	}
	slices.SortFunc(nodes, func(a, b *node) int {
		if rising {
			a, b = b, a
		}
		return -cmp.Compare(a.name(), b.name())
	})
	for i, n := range nodes {
		n.uses = nodes[(i+1)%size]
		n.uses.by = n
	}
	return nodes
}

// Daemons that share all their proxies as one begin to use each other in one moment, so that each asks before any of them
// is known to use another. Whatever the order in which they ask again, then and later, one of them is refused, which
// breaks the ring, and the others go on.
func TestRingInOneMoment(t *testing.T) {
	for _, size := range []int{2, 3} {
		for _, rising := range []bool{true, false} {
			for first := range size {
				t.Run(fmt.Sprint(size, rising, first), func(t *testing.T) {
					nodes := ring(t, size, rising)
					heard := make([][]string, size)
					for i, n := range nodes {
						heard[i] = n.uses.shares()
					}
					for i, n := range nodes {
						n.asks(heard[i])
						if !n.used {
							t.Fatal("refused before anybody uses anything")
						}
					}
					for i, n := range nodes {
						n.up(heard[i])
					}
					for range size { // those that were refused try again
						for i := range nodes {
							n := nodes[(i+first)%size]
							via := n.uses.shares()
							n.asks(via)
							n.up(via)
						}
					}
					refused := slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n.used })
					if len(refused) != 1 {
						t.Errorf("%d of %d refuse the next one", len(refused), size)
					}
					for _, n := range nodes {
						if v := n.list[0].Via(); n.used && (slices.Contains(v, n.name()) || v[0] != n.uses.name()) {
							t.Errorf("it says to be reached through %q", v)
						}
					}
				})
			}
		}
	}
}

// Two daemons that go on to ask in the same moments, as they began at the same time, are not refused together.
func TestRingInStep(t *testing.T) {
	for _, rising := range []bool{true, false} {
		nodes := ring(t, 2, rising)
		for round := range 4 {
			heard := [][]string{nodes[0].uses.shares(), nodes[1].uses.shares()}
			for i, n := range nodes {
				n.asks(heard[i])
			}
			for i, n := range nodes { // what is made to ask again does so with all others, in the next round
				if n.used {
					n.told = n.others(heard[i])
				}
			}
			if one := nodes[0].used != nodes[1].used; one != (round > 0) {
				t.Errorf("round %d: used %v and %v", round, nodes[0].used, nodes[1].used)
			}
		}
	}
}

// A daemon that comes later refuses what is made of its own, whoever has the lower address, until that is no longer so. One
// that offers its proxies singly refuses it in any case, as the other one has no reason to refuse these.
func TestRingOneAfterTheOther(t *testing.T) {
	for _, rising := range []bool{true, false} {
		nodes := ring(t, 2, rising)
		one, two := nodes[0], nodes[1]
		try := func(n *node, want bool, what string) {
			t.Helper()
			via := n.uses.shares()
			n.asks(via)
			n.up(via)
			if n.used != want {
				t.Errorf("%s: used %v", what, n.used)
			}
		}
		try(one, true, "the first one asks")
		for range 2 {
			try(two, false, "the second one, of what comes from itself")
			try(one, true, "the first one goes on")
		}
		one.Unused("")
		one.used = false
		try(two, true, "the first one uses it no more")
	}
	nodes := ring(t, 2, true)
	low := nodes[0]
	if low.uses.name() < low.name() {
		low = nodes[1]
	}
	low.cfg.Live().Share.Offer = config.ShareEach
	low.asks(low.uses.shares())
	low.asks([]string{low.uses.name(), low.name()})
	if low.used {
		t.Error("it offers its proxies singly and uses them through the other one")
	}
}

// Whoever copies a machine copies the address of its daemon, too. Both then take what the other one shares for their own, which
// removing it from proxies would not mend.
func TestCopiedState(t *testing.T) {
	n := ring(t, 2, true)[0]
	n.cfg.Live().StateDir = "/var/lib/b"
	copied := n.cfg.Store.Address().String() + " cellar"
	for _, via := range [][]string{{copied}, {n.uses.name(), copied}} {
		err := n.admit(n.list[0], apiconn.Info{Name: "kitchen-shared", MAC: ble.Address(1).String(), Features: ble.FeatureActiveConnections, Via: via})
		if err == nil || !strings.Contains(err.Error(), "the daemon on cellar has the same address as this one") || !strings.Contains(err.Error(), "/var/lib/b") {
			t.Errorf("through %q: %v", via, err)
		}
	}
}
