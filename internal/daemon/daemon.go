package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/dbusobj"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/scanner"
	"bluez-esphome/internal/store"
	"bluez-esphome/internal/web"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// BusName is the name that BlueZ clients look for.
const BusName = "org.bluez"

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
	store   *store.Store
	conn    *dbusobj.Conn
	table   *scanner.Table
	owners  *gatt.Owners
	links   *gatt.Manager // of owners
	sharing *sharer
	shim    *bluezshim.Shim
	proxies *proxySet
	web     *web.Server // nil without http.listen, as is metrics
	metrics *web.Metrics
	ready   atomic.Bool // org.bluez is ours and the work goes on
	live    liveRules
	reloads atomic.Int32  // asked for, applied or not
	started chan struct{} // closed once the proxies are at work

	adapters adapterSet
	extended map[int]*dbusobj.Interface // by the adapter's index; in the loop
}

// New makes a Daemon; nothing happens before Run.
func New(opts Options) *Daemon {
	d := &Daemon{opts: opts, log: opts.Logger, started: make(chan struct{})}
	d.live.set(opts.Config)
	return d
}

// Heard lists what the proxies hear; for the demo's table. It is nil before Run.
func (d *Daemon) Heard() []scanner.Device {
	if d.table == nil {
		return nil
	}
	return d.table.List()
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
	cfg := d.opts.Config
	for _, w := range cfg.Warnings {
		d.log.Warn(w)
	}
	st, err := store.Open(cfg.StateDir, d.log)
	if err != nil {
		return fmt.Errorf("cannot open the state: %w", err)
	}
	defer st.Close()
	d.store = st

	if err := d.listenHTTP(ctx); err != nil {
		return err
	}
	if d.web != nil {
		defer d.web.Close()
	}
	bus, err := openBus(ctx, cfg.Bus, d.log)
	if err != nil {
		return err
	}
	defer bus.stop()
	d.conn, err = dbusobj.Dial(ctx, dbusobj.Config{
		Address: bus.dialAddress(), Logger: d.log, Answered: d.answered(), Reconnect: d.reconnect(bus),
	})
	if err != nil {
		return busError(cfg.Bus, err)
	}
	defer d.conn.Close()

	if err := d.build(); err != nil {
		return err
	}
	defer d.adapters.each((*scanner.Table).Close)
	if err := d.conn.RequestName(ctx, BusName); err != nil {
		if taken := new(dbusobj.NameTakenError); errors.As(err, &taken) {
			return err
		}
		return busError(cfg.Bus, err)
	}
	if err := bus.owned(); err != nil {
		return err
	}
	return d.serve(ctx, bus.address)
}

// build makes the packages' objects and ties them together; none of them is at work yet.
func (d *Daemon) build() error {
	cfg := d.opts.Config
	d.table = scanner.New(scanner.Config{MaxDevices: cfg.MaxDevices, Logger: d.log})
	d.adapters.d, d.extended = d, map[int]*dbusobj.Interface{}
	events := &linkEvents{}
	d.store.Devices(func(a ble.Address, st store.DeviceState) { d.table.Keep(a, st.Bonded) })
	keeper := linkKeeper{&d.adapters, d.store}
	d.owners = gatt.NewOwners(gatt.Config{
		Air: pathsOf{d.table}, Events: keeper, Used: keeper.used, Store: gattStore{d.store},
		Timeout: cfg.Connect.Timeout, PerPath: cfg.Connect.PerPath, SlotWait: cfg.Connect.SlotWait,
		Measured: d.measured(),
		Rules:    d.live.rule, OnNoSlot: d.live.onNoSlot, Expected: d.table.Advertised, Name: d.nameOf, Listening: d.listening, Logger: d.log,
		MayPair: func(ble.Address) bool { return d.shim.AgentRegistered() },
	}, cfg.Share.Exclusive)
	d.links = d.owners.Manager()
	links := d.owners.Owner(gatt.OwnerConfig{Name: dbusOwner, Party: dbusOwner, Events: events, KeepSubscriptions: true})
	d.sharing = newSharer(d)
	var err error
	if d.proxies, err = newProxySet(d); err != nil {
		return err
	}
	d.shim = bluezshim.New(bluezshim.Config{
		Conn: d.conn, Links: keptLinks{links, &d.adapters}, Store: shimStore{d.store}, Logger: d.log, ProxyPath: d.proxies.path, Signalled: d.signalled(),
		Adapters: append([]bluezshim.AdapterConfig{{
			Index: 0, Address: d.store.Address(), Name: adapterName(cfg), Air: &air{Table: d.table, modes: d.proxies},
		}}, d.adapters.known()...),
	})
	d.extendAdapter(0, nil)
	for _, own := range d.adapters.byMAC {
		d.extendAdapter(own.index, own)
	}
	events.Events = d.shim
	return nil
}

// serve runs the loop beside the proxies. The bus is left last, so that what the end brings is still signalled.
func (d *Daemon) serve(ctx context.Context, address string) error {
	busCtx, leaveBus := context.WithCancel(context.WithoutCancel(ctx))
	defer leaveBus()
	served := make(chan error, 1)
	go func() { served <- d.conn.Run(busCtx) }()

	workCtx, stopWork := context.WithCancel(ctx)
	defer stopWork()
	shimDone := make(chan struct{})
	go func() {
		defer close(shimDone)
		d.shim.Run(workCtx)
	}()
	webCtx, stopWeb := context.WithCancel(ctx)
	defer stopWeb()
	webDone := d.serveHTTP(webCtx)
	d.proxies.start(workCtx)
	d.ready.Store(true)
	close(d.started)
	d.log.Info("org.bluez is ours", "bus", address, "proxies", len(d.opts.Config.Proxies), "version", d.opts.Version)
	if d.opts.Ready != nil {
		d.opts.Ready(address)
	}
	d.notify(systemd.SdNotifyReady)
	watched := d.startWatchdog(busCtx)

	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
		served <- err
		if err == nil {
			err = errors.New("the bus went away")
		}
	}
	d.ready.Store(false)
	d.notify(systemd.SdNotifyStopping)
	stopWeb()
	d.sharing.Close()
	within(ctx, shimTimeout, func(ctx context.Context) { _ = d.conn.Do(ctx, d.shim.Drain) })
	within(ctx, linksTimeout, d.links.Close)
	within(ctx, proxiesTimeout, d.proxies.stop)
	within(ctx, shimTimeout, func(ctx context.Context) { _ = d.conn.Do(ctx, d.shim.Close) }) // what hangs is left behind
	stopWork()
	<-shimDone
	<-webDone
	<-d.proxies.finder.done
	leaveBus()
	<-watched
	<-served
	return err
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
