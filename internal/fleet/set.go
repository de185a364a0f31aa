package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"bluez-esphome/internal/adapters"
	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/capture"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/lockorder"
	"bluez-esphome/internal/scanmode"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/store"
)

// A Board shows the proxies, for example on D-Bus. Its methods return at once and take effect in the order of the
// calls.
type Board interface {
	Show(p *Proxy)
	Changed(p *Proxy, properties ...string)
	Hide(p *Proxy)
}

// A Network is how proxies are reached.
type Network interface {
	// Pace is waited for before each attempt to connect.
	Pace(ctx context.Context) error
	// Resolve looks the host of a proxy up.
	Resolve(ctx context.Context, p *Proxy, host string) ([]netip.Addr, error)
}

// Hooks are told what proxies do. They are called in the goroutine of the proxy's session, but for Refused, and must
// not block.
type Hooks interface {
	// Online: the proxy is usable, or has its numbers now. Offline ends that.
	Online(p *Proxy)
	Offline(p *Proxy)
	// Displaced: another host has the proxy, and it was not online; what it is, is known.
	Displaced(p *Proxy)
	// Adverts takes a batch of the proxy with that ID, for the merged table above all; sh is the proxy as it is shared,
	// or nil.
	Adverts(id string, sh Shared, at time.Time, batch []ble.RawAdvert)
	// AdapterUsed: the proxy has an adapter of its own, which may be new.
	AdapterUsed(own *adapters.Own, info store.ProxyInfo)
	AdapterOnline(own *adapters.Own, online bool)
	// Unused: the proxy with that ID is used no more, as it is not configured any longer or has become a part of a loop.
	// Offline came before.
	Unused(id string)
	// Refused: a proxy that was found is not to be used.
	Refused(p *Proxy, why string)
}

// Config makes a Set. No field but Views may be its zero value.
type Config struct {
	Live     func() *config.Config // the present configuration
	Version  string                // ours, for the proxies' logs
	Links    *gatt.Manager
	Tap      *capture.Tap // sees what Links does, too
	Merged   *scanner.Table
	View     *scanmode.View // of the merged table
	Adapters *adapters.Set
	Store    *store.Store
	Network  Network
	Board    Board
	Hooks    Hooks
	// Views are further wishes for the scan mode of the proxy with that ID; nil: there are none.
	Views  func(id string) []*scanmode.View
	Logger *slog.Logger
}

// A Set is the proxies. Its methods are goroutine-safe.
type Set struct {
	cfg      Config
	tasks    sync.WaitGroup
	previous *apiconn.Previous

	mu    lockorder.Mutex[lockorder.Proxies]
	list  []*Proxy
	ctx   func() context.Context // of Run, nil before it
	ready chan struct{}          // closed once Run has started the proxies
	ended bool
}

// New makes the Set of the proxies of the configuration, which do nothing before Run.
func New(cfg Config) (*Set, error) {
	s := &Set{cfg: cfg, ready: make(chan struct{}), previous: apiconn.NewPrevious(cfg.Logger)}
	for _, pc := range cfg.Live().Proxies {
		p, err := s.Make(pc, "")
		if err != nil {
			return nil, err
		}
		s.list = append(s.list, p)
		cfg.Board.Show(p)
	}
	return s, nil
}

// Ready is closed once Run has started the proxies.
func (s *Set) Ready() <-chan struct{} { return s.ready }

// unusedAfter is how long the numbers of a proxy that is away are kept.
const unusedAfter = 30 * 24 * time.Hour

// upkeep is how often the store is told which proxies are used.
const upkeep = 12 * time.Hour

// Run connects to the proxies until ctx ends, and returns when all of them have ended. Stop before lets them end
// cleanly.
func (s *Set) Run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx = func() context.Context { return ctx }
	for _, p := range s.list {
		s.launch(p)
	}
	s.mu.Unlock()
	close(s.ready)
	s.cfg.Store.ForgetProxies(time.Now(), unusedAfter)
	tick := time.NewTicker(upkeep)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			for _, p := range s.All() {
				if p.Up() {
					s.remember(p)
				}
			}
			s.cfg.Store.ForgetProxies(time.Now(), unusedAfter)
		}
	}
	s.mu.Lock()
	s.ended = true
	for _, p := range s.list {
		p.stop()
	}
	s.mu.Unlock()
	s.tasks.Wait()
	return nil
}

// remember notes that a proxy that has its numbers is used.
func (s *Set) remember(p *Proxy) {
	p.mu.Lock()
	mac, seated, info := p.mac, p.seat == nil, store.ProxyInfo{Name: p.name, Endpoint: HostPort(p.cfg)}
	info.Bluetooth, _ = ble.ParseAddress(p.info.BluetoothMAC)
	p.mu.Unlock()
	if mac != 0 && seated {
		s.cfg.Store.SetProxyInfo(mac, info, time.Now())
	}
}

// Stop ends all sessions at once, each cleanly if ctx lets it.
func (s *Set) Stop(ctx context.Context) {
	var wg sync.WaitGroup
	for _, p := range s.All() {
		wg.Go(p.Stop)
	}
	stopped := make(chan struct{})
	go func() { // ends with the sessions, for which Run waits too
		wg.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
	}
}

// background runs f in a goroutine that Run waits for.
func (s *Set) background(f func()) { s.tasks.Go(f) }

// launch starts a proxy. s.mu is held, and Run has begun.
func (s *Set) launch(p *Proxy) {
	ctx, cancel := context.WithCancel(s.ctx())
	p.stop = cancel
	s.tasks.Go(func() { p.mode.Run(ctx) })
	s.tasks.Go(func() { _ = p.Run(ctx) })
}

// Make makes a proxy that is not part of the set yet; instance is the announcement by which it was found.
func (s *Set) Make(pc config.Proxy, instance string) (*Proxy, error) {
	p := &Proxy{set: s, cfg: pc, identity: identity{name: pc.Name}, instance: instance, stop: func() {}}
	p.mode = scanmode.NewFollower(p.wish, p.setMode)
	cfg := s.cfg.Live()
	ac := apiconn.Config{
		Name: pc.Name, Address: HostPort(pc), Password: pc.Password.Reveal(), ClientInfo: apiwire.ClientName + " " + s.cfg.Version,
		PingAfter: cfg.Link.PingAfter, DeadAfter: cfg.Link.DeadAfter,
		Logger: s.cfg.Logger, Handler: handler{p}, Pace: s.cfg.Network.Pace, Previous: s.previous,
		Admit: func(info apiconn.Info) error { return s.admit(p, info) },
		Changed: func() {
			s.cfg.Board.Changed(p, "State", "LastError")
			p.slotsChanged()
			p.stateChanged()
		},
		Resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return s.cfg.Network.Resolve(ctx, p, host)
		},
	}
	if pc.NoisePSK.IsSet() {
		key := pc.NoisePSK.Key()
		ac.PSK = &key
	}
	if pc.HasMAC {
		ac.ExpectMAC = pc.MAC.String()
	}
	switch pc.ScanMode {
	case config.ScanActive:
		ac.ScanMode = apiconn.ScanActive
	case config.ScanPassive:
		ac.ScanMode = apiconn.ScanPassive
	}
	if pc.OnConflict == config.ConflictRetake {
		ac.OnConflict = apiconn.Retake
	}
	var err error
	p.Proxy, err = apiconn.New(ac)
	if err != nil {
		return nil, fmt.Errorf("cannot make a proxy of %s: %w", HostPort(pc), err)
	}
	return p, nil
}

var errEnded = errors.New("the proxies are being stopped")

// Join makes a proxy part of the set and starts it.
func (s *Set) Join(p *Proxy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.ctx == nil {
		return errEnded
	}
	if p.cfg.Name != "" {
		for _, q := range s.list { // the configuration decides; who was found or called itself so gets another name
			if q.Name() == p.cfg.Name && q.cfg.Name == "" {
				s.rename(q)
			}
		}
	}
	s.list = append(s.list, p)
	s.cfg.Board.Show(p)
	s.launch(p)
	return nil
}

// rename has a proxy take another name for people. s.mu is held.
func (s *Set) rename(p *Proxy) {
	base := p.Name()
	for i := 2; ; i++ {
		if name := fmt.Sprintf("%s-%d", base, i); !s.taken(p, name) {
			p.mu.Lock()
			p.name = name
			p.mu.Unlock()
			s.cfg.Board.Changed(p, "Name")
			return
		}
	}
}

// Leave stops a proxy and takes it out of everything. It is not for the proxy's own goroutine.
func (s *Set) Leave(p *Proxy) {
	p.Stop()
	s.mu.Lock()
	p.stop()
	s.list = slices.DeleteFunc(slices.Clone(s.list), func(q *Proxy) bool { return q == p })
	id, other := p.ID(), false
	for _, q := range s.list {
		other = other || q.ID() == id && q.Up()
	}
	s.mu.Unlock()
	if id != "" && !other {
		s.cfg.Links.RemoveProxy(id)
		s.cfg.Hooks.Unused(id)
	}
	s.cfg.Board.Hide(p)
	s.reconsider(p)
}

// reconsider lets those try again that were refused because they are the same device as p, which is gone.
func (s *Set) reconsider(p *Proxy) {
	for _, q := range s.All() {
		if q != p {
			q.Reconsider()
		}
	}
}

// All lists the present proxies: configured ones in their order, and others.
func (s *Set) All() []*Proxy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// ByID gives the proxy with that ID, preferably one that is up, or nil.
func (s *Set) ByID(id string) *Proxy {
	if id == "" {
		return nil
	}
	var found *Proxy
	for _, p := range s.All() {
		if p.ID() == id && (found == nil || p.Up()) {
			found = p
		}
	}
	return found
}

// Label is the name for people of the proxy with that ID.
func (s *Set) Label(id string) string {
	if p := s.ByID(id); p != nil {
		return p.Label()
	}
	return id
}

// Apply makes the configured proxies those of the present configuration. One that changed in any way is stopped and a
// new one takes its place; the others are not touched.
func (s *Set) Apply() (added, removed int) {
	var fresh []config.Proxy
	keep := map[*Proxy]bool{}
	present := s.All()
	for _, pc := range s.cfg.Live().Proxies {
		i := slices.IndexFunc(present, func(p *Proxy) bool { return p.instance == "" && !keep[p] && sameProxy(p.cfg, pc) })
		if i < 0 {
			fresh = append(fresh, pc)
			continue
		}
		keep[present[i]] = true
		present[i].acceptMAC()
	}
	left := map[string]*Proxy{}
	for _, p := range present {
		if p.instance == "" && !keep[p] {
			s.Leave(p)
			left[HostPort(p.cfg)] = p
			removed++
		}
	}
	for _, pc := range fresh {
		p, err := s.Make(pc, "")
		if err != nil {
			s.cfg.Logger.Error("A configured proxy cannot be used", "error", err)
			continue
		}
		if old := left[HostPort(pc)]; old != nil {
			p.Inherit(old.Proxy)
		}
		if err := s.Join(p); err != nil {
			return added, removed
		}
		added++
	}
	for _, p := range s.All() {
		p.Retry() // a reload is what one does after a change elsewhere, such as another host that is gone
	}
	return added, removed
}

// acceptMAC lets another device take the place of one that is away: the operator said so by a reload. A device that was
// let in a moment ago is not away.
func (p *Proxy) acceptMAC() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.up && !p.let {
		p.mac = 0
	}
}

// sameProxy compares what is configured; where it stands in the file does not count.
func sameProxy(a, b config.Proxy) bool {
	a.Line, b.Line = 0, 0
	return reflect.DeepEqual(a, b)
}

// Settle gives all proxies that are online their adapters, after a change of the configuration.
func (s *Set) Settle() {
	for _, p := range s.All() {
		p.mu.Lock()
		ready := p.up && p.seat == nil
		p.mu.Unlock()
		if ready {
			s.seat(p)
		}
	}
}

// Discovering notes that somebody discovers on the merged adapter, own nil, or on a proxy's own, or does no longer, and
// brings the proxies into the fitting mode. It does not block. Those that are about to change make no first reports
// until they did.
func (s *Set) Discovering(own *adapters.Own, on bool) {
	view, table := s.cfg.View, s.cfg.Merged
	if own != nil {
		view, table = &own.Mode, own.Table
	}
	all := s.All()
	if on {
		var held []string
		for _, p := range all {
			wished, _ := p.wish()
			p.mu.Lock()
			passive := wished == ble.ScanPassive || p.scan.Mode == ble.ScanPassive
			if p.cfg.ScanMode == config.ScanAuto && p.known && passive && (own == nil || p.own == own) {
				held = append(held, p.id)
			}
			p.mu.Unlock()
		}
		scanmode.Hold(table, held)
	}
	view.Discovering(on)
	for _, p := range all {
		p.ModeChanged()
	}
}

// ModeChanged: another scan mode may be wished for the proxy with that ID, or, if it is empty, for all of them.
func (s *Set) ModeChanged(id string) {
	for _, p := range s.All() {
		if id == "" || p.ID() == id {
			p.ModeChanged()
		}
	}
}

// Position is where the proxy with that MAC stands in the configuration, from 0; proxies that are not configured come
// behind.
func (s *Set) Position(mac ble.Address) int {
	n := 0
	for _, p := range s.All() {
		if p.instance != "" {
			continue
		}
		if p.MAC() == mac {
			return n
		}
		n++
	}
	return n
}
