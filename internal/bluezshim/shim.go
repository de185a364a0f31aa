package bluezshim

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/links"

	"github.com/godbus/dbus/v5"
)

// AdapterConfig is one adapter to publish.
type AdapterConfig struct {
	Index   int         // N of hciN, 0…8
	Address ble.Address // of the adapter; must be unique
	Name    string      // Adapter1.Name
	Air     Air         // must not be nil
	// Via restricts connections made through this adapter to one proxy; empty for the merged adapter.
	Via string
	// Offline: the proxy of this adapter is not online yet, see SetOnline.
	Offline bool
}

// Config is what a Shim is made of. Only functions and Clock may be nil.
type Config struct {
	Conn     *dbusobj.Conn
	Links    links.Links
	Store    Store
	Adapters []AdapterConfig
	Logger   *slog.Logger
	// ProxyPath gives the proxies their object paths in Sources; nil leaves them out.
	ProxyPath func(name string) dbus.ObjectPath
	// Connects, if not nil, tells of the last calls of Connect for a device: it encodes an aa{sv} for Connects of our own
	// interface, and LastError gives what went wrong last, "" for nothing. Both are called in the loop.
	Connects  func(a ble.Address, e *dbusobj.Encoder)
	LastError func(a ble.Address) string
	// ValueLost, if not nil, is told of each notification that a client lost because it read its descriptor too slowly.
	ValueLost func(a ble.Address)
	Clock     Clock // nil: the real time
	// Signalled, if not nil, is told how old the oldest advertisement of each report was when its signals were handed
	// to the bus's writer. It is called in the loop.
	Signalled func(delay time.Duration)
}

// Shim publishes adapters and what they hear on a bus. Make it with New before the
// Conn runs, then Run it.
type Shim struct {
	conn     *dbusobj.Conn
	links    links.Links
	store    Store
	log      *slog.Logger
	proxy    func(string) dbus.ObjectPath
	clock    Clock
	delay    func(time.Duration) // nil: nobody wants to know
	adapters []*adapter
	added    chan *adapter // published, and to be watched by Run, which must not look at adapters
	peers    map[ble.Address]*peer
	names    nameCache
	agents   agentList
	clients  map[string]func() // by bus name; each ends the watch of that name
	expiry   expiryTimer
	monitors monitorTable
	pipes    pipeQuota
	notes    noteQuota
	ifaces   interfaces
	lifetime
}

// lifetime is what a Shim has running, and whether it has ended.
type lifetime struct {
	closed bool           // the loop takes no more work
	tasks  sync.WaitGroup // the goroutines that were spawned
}

// New builds the tree on cfg.Conn, which must not run yet.
func New(cfg Config) *Shim {
	s := &Shim{
		conn: cfg.Conn, links: cfg.Links, store: cfg.Store, log: cfg.Logger, proxy: cfg.ProxyPath, clock: cfg.Clock, delay: cfg.Signalled,
		peers: map[ble.Address]*peer{}, clients: map[string]func(){}, names: nameCache{}, ifaces: newInterfaces(cfg),
		pipes: pipeQuota{lost: cfg.ValueLost},
	}
	if s.clock == nil {
		s.clock = systemClock{}
	}
	s.notes = noteQuota{log: s.log, of: map[ble.Address]*notes{}}
	s.expiry.shim = s
	s.conn.Add("/org/bluez", s, s.ifaces.agentManager, s.ifaces.profileManager)
	s.added = make(chan *adapter, max(maxAdapters, len(cfg.Adapters)))
	for _, ac := range cfg.Adapters {
		s.addAdapter(ac)
	}
	s.store.Devices(func(a ble.Address, st DeviceState) {
		if st.Bonded {
			s.restore(a, st)
		}
	})
	return s
}

// restore publishes a bonded device of an earlier run, as bluetoothd does with what it has stored.
func (s *Shim) restore(a ble.Address, st DeviceState) {
	p := s.peer(a, st.Type)
	p.uuids = slices.Clone(st.UUIDs)
	for _, ad := range s.adapters {
		ad.newDevice(p)
	}
}

// Run passes what the adapters hear into the loop until ctx ends, then lets the agents go.
func (s *Shim) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-s.added:
			wg.Go(func() { a.watch(ctx) })
		}
	}
}

// maxAdapters is hci0 to hci8: several clients read one digit.
const maxAdapters = 9

// AddAdapter publishes one more adapter while the Conn runs. Its index is at most 8; if there is an adapter of that
// index already, Address, Name and Via are those of ac from now on.
func (s *Shim) AddAdapter(ac AdapterConfig) {
	s.conn.Post(func() {
		for _, a := range s.adapters {
			if a.cfg.Index == ac.Index {
				a.update(ac)
				return
			}
		}
		if s.closed || len(s.adapters) >= maxAdapters {
			return
		}
		a := s.addAdapter(ac)
		for _, p := range s.peers {
			if p.st.Bonded {
				a.newDevice(p)
			}
		}
	})
}

// addAdapter publishes an adapter and has it watched by Run.
func (s *Shim) addAdapter(ac AdapterConfig) *adapter {
	a := newAdapter(s, ac)
	a.pairable = len(s.agents.list) > 0
	s.adapters = append(s.adapters, a)
	s.adapters[0].obj.Front() // the merged adapter is what clients take that want any: the first one listed
	s.added <- a              // never blocks: there is room for all that there may be
	return a
}

// SetOnline powers an adapter off while its proxy is offline, and back to what it was afterwards.
func (s *Shim) SetOnline(index int, online bool) {
	s.conn.Post(func() {
		for _, a := range s.adapters {
			if a.cfg.Index == index && !s.closed {
				a.setOnline(online)
			}
		}
	})
}

// Close, in the loop or posted to it before Conn.Run ends, releases agents and monitors and closes
// every file descriptor that was handed out.
func (s *Shim) Close() {
	if s.closed {
		return
	}
	s.closed = true
	s.expiry.stop()
	for _, a := range s.adapters {
		a.stopDiscoverableTimer()
	}
	for _, ag := range s.agents.list {
		ag.call("Release", "", nil)
	}
	s.monitors.releaseAll()
	for _, p := range s.peers {
		p.closePipes()
		if p.extending != nil {
			p.extending()
		}
	}
}

// spawn runs f on a goroutine of its own, for which Wait waits; in the loop. Close ends what it waits for: it closes
// pipes, and ends the contexts of calls. After Close nothing begins.
func (l *lifetime) spawn(f func()) {
	if !l.closed {
		l.tasks.Go(f)
	}
}

// Wait waits, after Close, until all goroutines have ended or ctx does.
func (l *lifetime) Wait(ctx context.Context) {
	done := make(chan struct{})
	go func() { // it ends with what is left behind
		defer close(done)
		l.tasks.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// watchClient runs gone when the client leaves the bus; one watch serves all of a client's sessions.
func (s *Shim) watchClient(sender string) {
	if _, ok := s.clients[sender]; ok {
		return
	}
	s.clients[sender] = s.conn.WatchName(sender, func() { s.clientGone(sender) })
}

// clientGone ends everything that belonged to a client (bluetoothd 5.87: discovery sessions and filters,
// notification sessions, agents, pending pairing, monitors; connections stay).
func (s *Shim) clientGone(sender string) {
	delete(s.clients, sender)
	for _, a := range s.adapters {
		a.clientGone(sender)
	}
	s.removeAgent(sender)
	s.monitors.clientGone(sender)
	for _, p := range s.peers {
		p.clientGone(sender)
	}
}
