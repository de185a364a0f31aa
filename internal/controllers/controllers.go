// Package controllers runs the virtual controllers of the configuration: it makes them, changes them with a reload, and
// is the radio of each: it hands them what their proxies hear, and has their proxies scan as their hosts want.
package controllers

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/hci"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/scanmode"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/store"
)

// Config makes a Set. No field may be its zero value but MaxDevices.
type Config struct {
	Store  *store.Store
	Merged *scanner.Table // of all proxies
	// MaxDevices bounds the table of a controller of several proxies, see scanner.Config.
	MaxDevices int
	// Links makes a controller's hold on links; name is the controller's, for people.
	Links func(name string, events links.Events) links.Links
	// Linked reports whether some party holds the link to a.
	Linked func(a ble.Address) bool
	Logger *slog.Logger
}

// A Set is the virtual controllers. Its methods are goroutine-safe.
type Set struct {
	cfg     Config
	proxies *fleet.Set                    // see Use
	list    atomic.Pointer[[]*controller] // never nil; not modified but replaced

	mu   lockorder.Mutex[lockorder.ControllerChange] // one change at a time; guards what follows
	run  func(*controller)
	wg   sync.WaitGroup
	over bool
}

// New makes a Set without controllers.
func New(cfg Config) *Set {
	s := &Set{cfg: cfg}
	s.list.Store(&[]*controller{})
	return s
}

// Use has the controllers use proxies. It is called once, before anything else but Views.
func (s *Set) Use(proxies *fleet.Set) { s.proxies = proxies }

// all lists the present controllers.
func (s *Set) all() []*controller { return *s.list.Load() }

// Apply makes the controllers those of the configuration. Those that stay as they are keep their hosts.
func (s *Set) Apply(cfg *config.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	keys := cfg.ControllerKeys()
	before := s.all()
	var now, fresh []*controller
	for i, cc := range cfg.HCI {
		if j := slices.IndexFunc(before, func(c *controller) bool { return c.key == keys[i] && same(c.cfg, cc) }); j >= 0 {
			now = append(now, before[j])
			continue
		}
		c := s.newController(keys[i], cc)
		now, fresh = append(now, c), append(fresh, c)
	}
	for _, c := range before {
		if !slices.Contains(now, c) {
			c.end()
		}
	}
	s.list.Store(&now)
	s.refresh()
	if s.run != nil {
		for _, c := range fresh {
			s.run(c)
		}
	}
}

// same compares what is configured; where it stands in the file does not count.
func same(a, b config.Controller) bool {
	a.Line, b.Line = 0, 0
	return reflect.DeepEqual(a, b)
}

// Run serves hosts until ctx ends.
func (s *Set) Run(ctx context.Context) error {
	s.mu.Lock()
	s.run = func(c *controller) {
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		c.stop = func() { cancel(); <-ended }
		s.wg.Go(func() {
			defer close(ended)
			_ = c.Controller.Run(ctx)
		})
	}
	for _, c := range s.all() {
		s.run(c)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// Online tells of a proxy that is usable; what names mean may have changed with it.
func (s *Set) Online(*fleet.Proxy) { s.refresh() }

// Offline tells of a proxy that is not usable any more.
func (s *Set) Offline(p *fleet.Proxy) {
	for _, c := range s.all() {
		if c.table != nil {
			c.table.ProxyDown(p.ID())
		}
	}
}

// refresh finds out which proxies the controllers use.
func (s *Set) refresh() {
	changed := false
	for _, c := range s.all() {
		changed = c.refresh() || changed
	}
	if changed {
		s.proxies.ModeChanged("")
	}
}

// Views are the wishes of controllers for the scan mode of the proxy with that ID.
func (s *Set) Views(id string) []*scanmode.View {
	var out []*scanmode.View
	for _, c := range s.all() {
		if c.uses(id) {
			out = append(out, &c.view)
		}
	}
	return out
}

// Listening reports whether a host wants advertisements.
func (s *Set) Listening() bool {
	return slices.ContainsFunc(s.all(), func(c *controller) bool { return c.Wants() })
}

// WantMerged reports whether a controller of all proxies wants advertisements.
func (s *Set) WantMerged() bool {
	return slices.ContainsFunc(s.all(), func(c *controller) bool { return c.Wants() && c.only.Load() == nil })
}

// Adverts takes what the merged table made of a batch, for the controllers that use all proxies.
func (s *Set) Adverts(at time.Time, merged []ble.RawAdvert) {
	for _, c := range s.all() {
		if c.only.Load() == nil {
			c.Adverts(at, merged)
		}
	}
}

// Heard takes a batch as the proxy with that ID heard it, for the controllers that do not use all.
func (s *Set) Heard(id string, at time.Time, batch []ble.RawAdvert) {
	for _, c := range s.all() {
		if c.only.Load() != nil && c.Wants() && c.uses(id) {
			c.heard(id, at, batch)
		}
	}
}

// Status tells of the controllers.
func (s *Set) Status() []hci.Status {
	var out []hci.Status
	for _, c := range s.all() {
		out = append(out, c.Status())
	}
	return out
}
