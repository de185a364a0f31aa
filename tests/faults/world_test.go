package faults

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/internal/task/tasktest"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

func TestMain(m *testing.M) { harness.Main(m) }

// The proxies, and the peripherals that both hear.
var names = []string{"near", "far"}

const (
	peripherals = 4
	address0    = ble.Address(0xc8_fa_00_00_00_00)

	adapterPath  = dbus.ObjectPath("/org/bluez/hci0")
	adapterIface = "org.bluez.Adapter1"
	deviceIface  = "org.bluez.Device1"
	charIface    = "org.bluez.GattCharacteristic1"
	properties   = "org.freedesktop.DBus.Properties"
	numbers      = "/service0001/char0002" // notifies ten times a second
	register     = "/service0001/char0005" // read and write
)

func devicePath(i int) dbus.ObjectPath {
	return dbus.ObjectPath(string(adapterPath) + "/" + (address0 + ble.Address(i)).PathElement())
}

// world is simulated proxies and a place for the daemon.
type world struct {
	t     *testing.T
	sim   *proxysim.Simulation
	place harness.Place
	env   []string // more of the daemon's environment
	extra string   // more of its configuration
	// Where it listens after listen.
	page, share string
}

// listen makes the daemon listen for HTTP, and for hosts that share the first proxy.
func (w *world) listen() {
	share := harness.FreePort(w.t)
	w.page, w.share = fmt.Sprint("127.0.0.1:", harness.FreePort(w.t)), fmt.Sprint("127.0.0.1:", share)
	w.extra = fmt.Sprintf("http: {listen: %q}\nshare: {listen: 127.0.0.1, base_port: %d}\n", w.page, share)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, place: harness.NewPlace(t)}
	opts := proxysim.Options{Log: slog.New(slog.DiscardHandler)}
	for i := range peripherals {
		opts.Peripherals = append(opts.Peripherals, proxysim.DeviceSpec{
			ID: fmt.Sprint(i), Address: address0 + ble.Address(i), AddressType: "random", Connectable: true, MTU: 247,
			Advert: proxysim.AdvertSpec{LocalName: fmt.Sprint("fault ", i), IntervalMS: 100},
			RSSI:   map[string]int8{names[0]: -50, names[1]: -80},
			GATT: proxysim.GATTSpec{Services: []proxysim.ServiceSpec{{UUID: ble.UUID32(0xfa), Characteristics: []proxysim.CharSpec{
				{
					UUID: ble.UUID32(0xfb), Properties: []string{"notify"}, Value: proxysim.HexBytes{0}, NotifyEveryMS: 100,
					Descriptors: []proxysim.DescSpec{{UUID: ble.UUIDCCCD, Value: proxysim.HexBytes{0, 0}, Writable: true}},
				},
				{UUID: ble.UUID32(0xfc), Properties: []string{"read", "write"}, Value: proxysim.HexBytes("hello")},
			}}}},
		})
	}
	for _, name := range names {
		opts.Proxies = append(opts.Proxies, proxysim.ProxySpec{ProxyConfig: proxysim.ProxyConfig{Name: name}, Listen: "127.0.0.1:0"})
	}
	var err error
	w.sim, err = proxysim.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Background(t, w.sim.Run)
	return w
}

// start starts the daemon on a bus, "private" or an address, and waits until it is ready.
func (w *world) start(bus string) *harness.Bus {
	w.t.Helper()
	d := w.launch(bus)
	d.Err.Expect(w.t, `msg="org.bluez is ours"`)
	if bus == "private" {
		bus = d.Out.Expect(w.t, `(?m)^DBUS_SYSTEM_BUS_ADDRESS=(\S+)$`)[1]
	}
	return &harness.Bus{Address: bus, Daemon: d}
}

// launch only starts it. wrap, if any, is a command to start it with.
func (w *world) launch(bus string, wrap ...string) *harness.Proc {
	w.t.Helper()
	text := w.extra + "\nproxies:\n"
	for _, name := range names {
		text += fmt.Sprintf("  - {name: %s, address: %q}\n", name, w.sim.Addr(name).(*net.TCPAddr))
	}
	path := filepath.Join(w.place.Dir, "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	args := append(wrap, harness.Binary(), "run", "--config", path, "--bus", bus)
	// The race detector otherwise waits a second at the exit.
	return harness.Start(w.t, append(w.place.Env(), append(w.env, "GORACE=atexit_sleep_ms=0")...), args[0], args[1:]...)
}

// state is a file that the daemon keeps.
func (w *world) state(name string) string { return filepath.Join(w.place.Dir, "state", name) }

// eventually waits until ok.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	harness.Eventually(w.t, harness.Limit, what, ok)
}

// sessions is how many sessions the proxies have together, slots how many connection slots are taken.
func (w *world) sessions() (n int) {
	for _, p := range w.sim.Proxies() {
		n += p.Clients()
	}
	return n
}

func (w *world) slots() (n int) {
	for _, p := range w.sim.Proxies() {
		n += p.Slots().Limit - p.Slots().Free
	}
	return n
}

// client is a program on the bus.
type client struct {
	*harness.Client
	// notes takes the notifications of all characteristics.
	notes chan *dbus.Signal
}

func newClient(t *testing.T, bus *harness.Bus) *client {
	t.Helper()
	c := &client{Client: bus.Client(t), notes: make(chan *dbus.Signal, 10_000)}
	if err := c.Conn.AddMatchSignal(dbus.WithMatchSender("org.bluez"), dbus.WithMatchOption("arg0", charIface)); err != nil {
		t.Fatal(err)
	}
	c.Conn.Signal(c.notes)
	return c
}

// connect finds a peripheral and connects to it.
func (c *client) connect(i int) {
	c.T.Helper()
	if err := c.Try(adapterPath, adapterIface+".StartDiscovery").Err; err != nil && err.Error() != "Operation already in progress" {
		c.T.Fatal(err)
	}
	c.Until(devicePath(i), deviceIface, "Address", (address0 + ble.Address(i)).String())
	c.Call(devicePath(i), deviceIface+".Connect")
	c.Until(devicePath(i), deviceIface, "ServicesResolved", true)
}

// notified waits for a notification.
func (c *client) notified() {
	c.T.Helper()
	select {
	case s := <-c.notes:
		if s == nil {
			c.T.Fatal("the connection to the bus ended")
		}
	case <-time.After(harness.Limit):
		c.T.Fatal("no notification")
	}
}
