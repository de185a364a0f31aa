package hci

import (
	"context"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/smp"
)

const (
	// maxLinks bounds the links of one host; proxies have 3 to 9 slots each.
	maxLinks = 64
	// Connection handles go round, so that what a host still sends to a link that ended meets nobody.
	firstHandle = 0x0040
	lastHandle  = 0x0eff
)

// Controller is one virtual controller: it serves one host at a time, on one transport. Its methods are goroutine-safe.
type Controller struct {
	cfg       Config
	scan      *scan
	supported [64]byte      // commands
	patience  time.Duration // writeTimeout, but in tests

	// guards everything of a host; events of package links take it, see the package
	mu    lockorder.Mutex[lockorder.Controller]
	out   *outbox // to the host; never nil, closed while there is none
	host  *hold   // nil until the host connects to something
	stats Stats
	spawn func(func(context.Context)) // runs it until the host's connection ends; nil before the first host

	eventMask, leMask uint64
	random            ble.Address // LE Set Random Address
	hasRandom         bool
	attempt           *attempt         // LE Create Connection that is not complete
	links             map[uint16]*link // of which the host was told
	next              uint16           // connection handle
	attempts          smp.Attempts     // of all hosts
}

// New makes a Controller. Nothing happens before Run.
func New(cfg Config) *Controller {
	c := &Controller{cfg: cfg, patience: writeTimeout, scan: newScan(), out: newOutbox(), next: firstHandle, supported: supportedCommands()}
	c.out.close()
	c.scan.last = cfg.Air.Last
	c.scan.linked = cfg.Air.Linked
	c.scan.passive = cfg.Air.Passive
	c.forget()
	return c
}

// Name is the controller's transport.
func (c *Controller) Name() string { return c.cfg.Name }

// Address is the controller's own.
func (c *Controller) Address() ble.Address { return c.cfg.Address }

// forget is what Reset and a new host do: links and attempts are let go of, nothing is scanned for, nothing is
// remembered.
func (c *Controller) forget() {
	if a := c.attempt; a != nil {
		a.stop()
		if a.link != nil {
			a.link.close()
		}
	}
	for _, l := range c.links {
		l.close()
	}
	c.links = map[uint16]*link{}
	if c.host != nil {
		c.host.links.Close()
		c.host = nil
	}
	c.eventMask, c.leMask = ^uint64(0), ^uint64(0)
	c.random, c.hasRandom = 0, false
	c.scan.reset(c.out)
	c.wish()
}

// wish tells of what the host's scan wants of the proxies.
func (c *Controller) wish() { c.cfg.WishChanged() }

// Wish is what the host wants of the proxies now: advertisements at all, and scanning actively.
func (c *Controller) Wish() (listens, active bool) { return c.scan.wish() }

// Wants reports whether Adverts does anything. It costs one load.
func (c *Controller) Wants() bool { return c.scan.wanted.Load() }

// Adverts takes what the controller's proxies heard, merged as if one radio had heard it. Nothing of it is kept. It
// never waits for the host.
func (c *Controller) Adverts(at time.Time, batch []ble.RawAdvert) {
	if !c.scan.wanted.Load() {
		return
	}
	c.scan.settle(at)
	if device, ok := c.scan.adverts(at, batch); ok {
		c.mu.Lock()
		c.heard(device)
		c.mu.Unlock()
	}
}

// newHandle gives a connection handle that no link has.
func (c *Controller) newHandle() uint16 {
	for {
		h := c.next
		c.next++
		if c.next > lastHandle {
			c.next = firstHandle
		}
		if c.links[h] == nil {
			return h
		}
	}
}

// linkOf is the host's link to a peripheral, or nil.
func (c *Controller) linkOf(a ble.Address) *link {
	for _, l := range c.links {
		if l.peer == a {
			return l
		}
	}
	return nil
}

// packet takes one H4 packet of the host.
func (c *Controller) packet(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case p[0] == typeCommand && len(p) >= 4:
		c.stats.Commands++
		c.command(p[1:])
	case p[0] == typeACL && len(p) >= 5:
		c.acl(p[1:])
	}
}
