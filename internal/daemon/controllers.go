package daemon

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/att"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/hci"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/scanmode"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/smp"
)

// controllers are the virtual controllers of the configuration, which a reload may change.
type controllers struct {
	d    *Daemon
	list atomic.Pointer[[]*controller] // never nil; not modified but replaced

	mu   lockorder.Mutex[lockorder.ControllerChange] // one reload at a time; guards what follows
	run  func(*controller)
	wg   sync.WaitGroup
	over bool
}

// controller is one of them.
type controller struct {
	*hci.Controller
	d     *Daemon
	key   string
	cfg   config.Controller
	view  scanmode.View
	wants atomic.Bool // scanning actively
	stop  func()      // under controllers.mu; nil: it does not run

	// only has the IDs of the proxies that it uses; nil: all.
	only atomic.Pointer[map[string]bool]
	// table merges what several proxies hear, where these are not all; nil: it is one, or all.
	table   *scanner.Table
	merging lockorder.Mutex[lockorder.Merge] // keeps the merged air in order; guards merged
	merged  []ble.RawAdvert
}

func newControllers(d *Daemon) *controllers {
	s := &controllers{d: d}
	s.list.Store(&[]*controller{})
	return s
}

// all lists the present controllers.
func (s *controllers) all() []*controller { return *s.list.Load() }

// apply makes the controllers those of the configuration. Those that stay as they are keep their hosts.
func (s *controllers) apply(cfg *config.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	keys := cfg.ControllerKeys()
	before := s.all()
	var now, fresh []*controller
	for i, cc := range cfg.Controllers {
		if j := slices.IndexFunc(before, func(c *controller) bool { return c.key == keys[i] && sameController(c.cfg, cc) }); j >= 0 {
			now = append(now, before[j])
			continue
		}
		c := s.make(keys[i], cc)
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

func sameController(a, b config.Controller) bool {
	a.Line, b.Line = 0, 0
	return reflect.DeepEqual(a, b)
}

// make makes a controller that does not run yet.
func (s *controllers) make(key string, cc config.Controller) *controller {
	d := s.d
	log := d.log.With("controller", key)
	address, err := d.store.Controller(key)
	if err != nil {
		log.Error("A controller will have another address in the next run: its host's bonds are lost then", "error", err)
	}
	c := &controller{d: d, key: key, cfg: cc}
	if len(cc.Proxies) > 0 {
		c.only.Store(&map[string]bool{})
	}
	if len(cc.Proxies) > 1 {
		c.table = scanner.New(scanner.Config{MaxDevices: d.config().MaxDevices, Logger: d.log})
	}
	name := "controller " + key
	c.Controller = hci.New(hci.Config{
		Name: key, Address: address, Transport: transport(cc, log), Air: c, Store: peers{d, key}, Log: log,
		Links: func(events links.Events) links.Links {
			return d.owners.Owner(gatt.OwnerConfig{Name: name, Party: name, Guest: true, Events: events})
		},
		NewATT:      func(cfg att.Config) hci.ATT { return att.New(cfg) },
		NewSMP:      func(cfg smp.Config) hci.Security { return smp.New(cfg) },
		WishChanged: c.wishChanged,
	})
	return c
}

// Run serves hosts until ctx ends.
func (s *controllers) Run(ctx context.Context) error {
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

// end stops a controller for good and waits for it.
func (c *controller) end() {
	if c.stop != nil {
		c.stop()
	}
	if c.table != nil {
		c.table.Close()
	}
}

// online and offline tell of a proxy; what names mean may have changed with it.
func (s *controllers) online(p *fleet.Proxy) { s.refresh() }

func (s *controllers) offline(p *fleet.Proxy) {
	for _, c := range s.all() {
		if c.table != nil {
			c.table.ProxyDown(p.ID())
		}
	}
}

// refresh finds out which proxies the controllers use.
func (s *controllers) refresh() {
	if s.d.proxies == nil { // not yet
		return
	}
	for _, c := range s.all() {
		if c.only.Load() == nil {
			continue
		}
		ids := map[string]bool{}
		for _, id := range s.d.proxies.IDs(c.cfg.Proxies) {
			ids[id] = true
		}
		before := *c.only.Swap(&ids)
		if c.table != nil {
			for id := range ids {
				if p := s.d.proxies.ByID(id); p != nil && p.Up() {
					c.table.ProxyUp(id)
				}
			}
		}
		if !maps.Equal(before, ids) {
			s.d.proxies.ModeChanged("")
		}
	}
}

// uses reports whether the controller uses the proxy with that ID.
func (c *controller) uses(id string) bool {
	only := c.only.Load()
	return only == nil || (*only)[id]
}

// views are the wishes of controllers for the scan mode of the proxy with that ID.
func (s *controllers) views(id string) []*scanmode.View {
	var out []*scanmode.View
	for _, c := range s.all() {
		if c.uses(id) {
			out = append(out, &c.view)
		}
	}
	return out
}

// wishChanged has the proxies scan as the controller's host wants.
func (c *controller) wishChanged() {
	if c.Controller == nil { // it is being made
		return
	}
	if _, active := c.Wish(); c.wants.Swap(active) != active {
		c.view.Discovering(active)
		c.d.proxies.ModeChanged("")
	}
}

// listening reports whether a host wants advertisements.
func (s *controllers) listening() bool {
	return slices.ContainsFunc(s.all(), func(c *controller) bool { return c.Wants() })
}

// wantMerged reports whether a controller of all proxies wants advertisements.
func (s *controllers) wantMerged() bool {
	return slices.ContainsFunc(s.all(), func(c *controller) bool { return c.Wants() && c.only.Load() == nil })
}

// adverts takes what the merged table made of a batch.
func (s *controllers) adverts(at time.Time, merged []ble.RawAdvert) {
	for _, c := range s.all() {
		if c.only.Load() == nil {
			c.Adverts(at, merged)
		}
	}
}

// heard takes a batch as the proxy with that ID heard it, for the controllers that do not use all.
func (s *controllers) heard(id string, at time.Time, batch []ble.RawAdvert) {
	for _, c := range s.all() {
		switch {
		case c.only.Load() == nil || !c.Wants() || !c.uses(id):
		case c.table == nil:
			c.Adverts(at, batch)
		default:
			c.merging.Lock()
			c.merged = c.table.Relay(id, at, batch, c.merged[:0])
			c.Adverts(at, c.merged)
			clear(c.merged) // the data is the session's
			c.merging.Unlock()
		}
	}
}

// Status tells of the controllers.
func (s *controllers) Status() []hci.Status {
	var out []hci.Status
	for _, c := range s.all() {
		out = append(out, c.Controller.Status())
	}
	return out
}
