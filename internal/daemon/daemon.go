package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/adapters"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/bus"
	"bluez-esphome/internal/capture"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/controllers"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/finder"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/inspect"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/overview"
	"bluez-esphome/internal/scanmode"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/share"
	"bluez-esphome/internal/sharing"
	"bluez-esphome/internal/store"
	"bluez-esphome/internal/stream"
	"bluez-esphome/internal/task"
	"bluez-esphome/internal/web"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// What a clean stop may take: less than 2 s in all, whatever hangs. A link or session that is not ended by then ends
// with our socket.
const (
	linksTimeout   = 1100 * time.Millisecond // to do what was accepted, and to disconnect
	proxiesTimeout = 400 * time.Millisecond  // to restore scan modes and take leave
	shimTimeout    = 200 * time.Millisecond  // to release agents and monitors
)

// Options are what a Daemon is made of. Config and Logger must not be nil.
type Options struct {
	Config  *config.Config
	Version string // ours, for proxies and logs
	Logger  *slog.Logger
	// Ready, if not nil, is called once org.bluez is owned, with the bus's address as
	// DBUS_SYSTEM_BUS_ADDRESS wants it; it is empty for the system bus.
	Ready func(busAddress string)
	// Interfaces lists those on which multicast DNS is spoken; nil is all but loopback.
	Interfaces func() ([]net.Interface, error)
	// Listener is used for HTTP instead of the address in Config if it is not nil; the daemon closes it.
	Listener net.Listener
	// Profiles adds pprof to the HTTP listener, if there is one.
	Profiles bool
}

// A Daemon is one run of the program.
type Daemon struct {
	opts    Options
	log     *slog.Logger
	live    atomic.Pointer[config.Config] // see config
	ready   atomic.Bool                   // org.bluez is ours and the work goes on
	reloads atomic.Int32                  // asked for, applied or not
	grown   atomic.Bool                   // a reload asked for adapters: per-proxy
	started chan struct{}                 // closed once the proxies are at work
	radio
	fronts
	displays
}

// radio is the proxies and what is known by them.
type radio struct {
	store    *store.Store
	table    *scanner.Table // of the merged adapter
	adapters *adapters.Set
	owners   *gatt.Owners
	links    *gatt.Manager // of owners
	finder   *finder.Finder
	proxies  *fleet.Set
	relay    *relay
	tap      *capture.Tap
}

// fronts serve programs on D-Bus and other hosts.
type fronts struct {
	conn        *dbusobj.Conn
	shim        *bluezshim.Shim
	sharing     *sharing.Sharer
	controllers *controllers.Set
	stream      *stream.Manager
	captures    *capture.Server // nil: none are offered
}

// displays tell people about all of it.
type displays struct {
	overview *overview.Overview
	board    *inspect.Board
	radios   *inspect.Radios
	shown    *inspect.Controllers
	onDisk   atomic.Pointer[inspect.Configuration] // nil before Run
	web      *web.Server                           // nil without http.listen, as is metrics
	metrics  *web.Metrics
}

// New makes a Daemon; nothing happens before Run.
func New(opts Options) *Daemon {
	d := &Daemon{opts: opts, log: opts.Logger, started: make(chan struct{}), displays: displays{overview: overview.New()}}
	d.live.Store(opts.Config)
	return d
}

// Heard lists what the proxies hear; for the demo's table. It is nil before the proxies are at work.
func (d *Daemon) Heard() []scanner.Device {
	select {
	case <-d.started:
	default:
		return nil
	}
	return d.overview.Heard()
}

// Run publishes the tree, owns org.bluez, connects to the proxies and serves until ctx ends. It returns nil then,
// a *dbusobj.NameTakenError if somebody else owns org.bluez, or what went wrong.
func (d *Daemon) Run(ctx context.Context) error {
	err := d.run(ctx)
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // stopped before it was ready
	}
	return err
}

func (d *Daemon) run(ctx context.Context) error {
	cfg := d.config()
	for _, w := range cfg.Warnings {
		d.log.Warn(w)
	}
	st, err := store.Open(cfg.StateDir, d.log)
	if err != nil {
		return fmt.Errorf("cannot open the state: %w", err)
	}
	defer st.Close()
	d.store = st
	d.tap = capture.New()
	d.offerCaptures()
	defer d.captures.Close()

	if err := d.listenHTTP(ctx); err != nil {
		return err
	}
	if d.web != nil {
		defer d.web.Close()
	}
	at, err := bus.Open(ctx, cfg.Bus, d.log)
	if err != nil {
		return err
	}
	defer at.Close()
	d.conn, err = at.Dial(ctx, bus.Config{Logger: d.log, Answered: d.answered(), Served: d.ready.Store})
	if err != nil {
		return err
	}
	defer d.conn.Close()

	if err := d.build(); err != nil {
		return err
	}
	defer d.adapters.Close()
	if err := at.Own(ctx, d.conn); err != nil {
		return err
	}
	return d.serve(ctx, at.Address())
}

// build makes the packages' objects and ties them together; none of them is at work yet.
func (d *Daemon) build() error {
	cfg := d.config()
	d.table = scanner.New(scanner.Config{MaxDevices: cfg.MaxDevices, Logger: d.log})
	d.adapters = adapters.New(adapters.Config{Store: d.store, Merged: d.table, MaxDevices: cfg.MaxDevices, Logger: d.log})
	d.store.Devices(func(a ble.Address, st store.DeviceState) { d.table.Keep(a, st.Bonded) })
	keeper := linkKeeper{d.adapters, d.store, d.tap}
	d.owners = gatt.NewOwners(gatt.Config{
		Air: pathsOf{d.table}, Events: keeper, Used: keeper.used,
		Store:   gattStore{d.store, func(name string) string { return d.proxies.IDOf(name) }},
		Timeout: cfg.Connect.Timeout, PerPath: cfg.Connect.PerPath, SlotWait: cfg.Connect.SlotWait,
		Measured: d.measured(), Expected: d.table.Advertised, Name: d.overview.NameOf, Listening: d.listening, Logger: d.log,
		Rules:    func(a ble.Address) gatt.Rule { return d.proxies.Rule(a) },
		OnNoSlot: func(proxy string) gatt.NoSlot { return d.proxies.NoSlot(proxy) },
		MayPair:  func(ble.Address) bool { return d.shim.AgentRegistered() },
	}, cfg.Share.InUse == config.InUseRefuse)
	d.links = d.owners.Manager()
	d.board = inspect.NewBoard(d.conn, d.overview.Links)
	d.board.LinkError, d.board.Bonds = d.overview.LinkError, d.overview.Bonds
	d.radios = inspect.NewRadios(d.conn, d.board)
	d.onDisk.Store(inspect.NewConfiguration(d.conn, d.config().Path, d.captures.Path()))
	d.buildFronts()
	d.finder = finder.New(finder.Config{Interfaces: d.opts.Interfaces, Own: d.sharing.MayBeOurs, Logger: d.log})
	view := new(scanmode.View)
	var err error
	d.proxies, err = fleet.New(fleet.Config{
		Live: d.config, Version: d.opts.Version, Links: d.links, Tap: d.tap, Merged: d.table, View: view, Adapters: d.adapters, Store: d.store,
		Network: d.finder, Board: d.board, Hooks: hooks{d}, Views: d.controllers.Views, Logger: d.log,
	})
	if err != nil {
		return err
	}
	d.finder.Use(d.proxies)
	d.sharing.Use(d.proxies)
	d.controllers.Use(d.proxies)
	d.controllers.Apply(cfg)
	d.finder.Apply(cfg)
	d.overview.Show(overview.Config{
		Proxies: d.proxies, Table: d.table, Owners: d.owners, Store: d.store, Shares: d.sharing.Status, Stream: d.stream.Status,
		Adapters:    d.adapters.Hearing,
		Controllers: d.controllers.Status,
		Remarks:     func() (string, []string) { return d.onDisk.Load().Remarks() },
		Loop:        func(ctx context.Context) error { return d.conn.Do(ctx, func() {}) },
		Served:      d.ready.Load,
	})

	merged := bluezshim.AdapterConfig{
		Index: 0, Address: d.store.Address(), Name: adapterName(cfg), Air: &air{Table: d.table, proxies: d.proxies},
	}
	radios, own := []bluezshim.AdapterConfig{merged}, []*adapters.Own(nil)
	if cfg.Adapters == config.AdaptersPerProxy {
		d.knownAdapters(func(o *adapters.Own, info store.ProxyInfo) {
			radios, own = append(radios, d.adapterConfig(o, info)), append(own, o)
		})
	}
	events := &linkEvents{}
	owner := d.owners.Owner(gatt.OwnerConfig{Name: dbusOwner, Party: dbusOwner, Events: events, KeepSubscriptions: true})
	d.shim = bluezshim.New(bluezshim.Config{
		Conn: d.conn, Links: keptLinks{owner, d.adapters}, Store: shimStore{d.store}, Logger: d.log,
		ProxyPath: d.board.Path, Signalled: d.signalled(), Adapters: radios,
		Connects: d.encodeConnects, LastError: d.overview.DeviceError, ValueLost: d.links.ValueLost,
	})
	events.Events = d.shim
	d.radios.Extend(0, d.table, func() string { return "" })
	inspect.ShowAir(d.conn, inspect.Air{
		Recent: d.overview.Recent, Connected: d.overview.Connected, LastError: d.overview.DeviceError,
		Connects: d.overview.Connects,
	})
	inspect.ShowStream(d.conn, d.stream.Status)
	for _, o := range own {
		d.extendAdapter(o)
	}
	return nil
}

// buildFronts makes what serves other hosts than the programs on D-Bus.
func (d *Daemon) buildFronts() {
	var shown *inspect.Sharing
	d.sharing = sharing.New(d.config().Share, sharing.Config{
		Store: d.store, SetExclusive: d.owners.SetExclusive, Interfaces: d.opts.Interfaces, Logger: d.log,
		Links: func(host share.Host, events links.Events) links.Links {
			return d.owners.Owner(gatt.OwnerConfig{Name: host.Name, Party: host.Party(), Guest: true, Events: events})
		},
		Shown: func(on bool) { d.conn.Post(func() { shown.Show(on) }) },
	})
	shown = inspect.NewSharing(d.conn, d.board, d.sharing.Status)
	shown.Show(d.sharing.Enabled())
	d.controllers = controllers.New(controllers.Config{
		Store: d.store, Merged: d.table, MaxDevices: d.config().MaxDevices, Linked: d.links.Connected, Logger: d.log,
		Links: func(name string, events links.Events) links.Links {
			return d.owners.Owner(gatt.OwnerConfig{Name: name, Party: name, Guest: true, Events: events})
		},
	})
	d.shown = inspect.NewControllers(d.conn, d.controllers.Status)
	d.shown.Show(len(d.config().HCI) > 0)
	d.stream = stream.New(d.streamConfig())
	d.stream.Apply(d.config().MQTT)
	d.relay = &relay{table: d.table, sharing: d.sharing, controllers: d.controllers, stream: d.stream}
}

// encodeConnects writes the last calls of Connect of one device for org.bluez_esphome.Device1.
func (d *Daemon) encodeConnects(a ble.Address, e *dbusobj.Encoder) {
	inspect.EncodeConnects(e, d.overview.DeviceConnects(a))
}

// servedAs is what the log says once everything is at work.
func servedAs(which config.Bus) string {
	if which == config.BusNone {
		return "At work without a bus"
	}
	return "org.bluez is ours"
}

// serve runs the loop beside the proxies. The bus is left last, so that what the end brings is still signalled.
func (d *Daemon) serve(ctx context.Context, address string) error {
	g := task.NewGroup(ctx)
	d.board.Running()
	leaveBus := g.Start(task.Task{Name: "bus", Run: func(ctx context.Context) error {
		err := d.conn.Run(ctx)
		if err == nil {
			err = errors.New("the bus went away")
		}
		return err
	}})
	stopShim := g.Start(task.Task{Name: "BlueZ's interfaces", Run: d.shim.Run})
	stopWeb := g.Start(task.Task{Name: "HTTP", Run: d.serveHTTP})
	stopFinder := g.Start(task.Task{Name: "multicast DNS", Run: d.finder.Run, Ready: d.finder.Ready()})
	stopCaptures := g.Start(task.Task{Name: "captures", Run: d.serveCaptures})
	stopControllers := g.Start(task.Task{Name: "controllers", Run: d.controllers.Run})
	stopProxies := g.Start(task.Task{Name: "proxies", Run: d.proxies.Run, Ready: d.proxies.Ready()})
	stopStream := g.Start(task.Task{Name: "stream", Run: d.stream.Run})
	d.ready.Store(true)
	close(d.started)
	d.log.Info(servedAs(d.config().Bus), "bus", address, "proxies", len(d.config().Proxies), "version", d.opts.Version)
	if d.opts.Ready != nil {
		d.opts.Ready(address)
	}
	d.notify(systemd.SdNotifyReady)
	stopWatchdog := g.Start(task.Task{Name: "watchdog", Run: d.serveWatchdog})

	<-g.Done()
	d.ready.Store(false)
	d.notify(systemd.SdNotifyStopping)
	stopWeb()
	stopFinder()
	stopStream()
	d.sharing.Close()
	stopControllers() // hosts see their controller go
	within(ctx, shimTimeout, func(ctx context.Context) { _ = d.conn.Do(ctx, d.shim.Drain) })
	within(ctx, linksTimeout, d.links.Close)
	within(ctx, proxiesTimeout, d.proxies.Stop)
	within(ctx, shimTimeout, func(ctx context.Context) { _ = d.conn.Do(ctx, d.shim.Close) }) // what hangs is left behind
	within(ctx, shimTimeout, d.shim.Wait)
	stopProxies()
	stopCaptures() // which have seen the links end
	stopShim()
	leaveBus()
	stopWatchdog()
	return g.Wait()
}

// within calls f with a context that ends after d, not with ctx: that has ended already.
func within(ctx context.Context, d time.Duration, f func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d)
	defer cancel()
	f(ctx)
}

func (d *Daemon) notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		d.log.Debug("Cannot notify systemd", "error", err)
	}
}
