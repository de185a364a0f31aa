package replay

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/daemon"
	"bluez-esphome/internal/dbusobj/dbustest"
	"bluez-esphome/internal/proxysim"

	"github.com/godbus/dbus/v5"
)

// patience is the longest time that a test waits for anything.
const patience = 3 * time.Minute

const (
	hci0       = dbus.ObjectPath("/org/bluez/hci0")
	adapter1   = "org.bluez.Adapter1"
	device1    = "org.bluez.Device1"
	properties = "org.freedesktop.DBus.Properties"
	manager    = "org.freedesktop.DBus.ObjectManager"
)

// world is a simulated proxy, a bus and a daemon, with clients.
type world struct {
	t       *testing.T
	address string
	air     *proxysim.Air
	clients map[string]*dbus.Conn
	arrived chan *dbus.Call // at client a, in order: replies of all clients, and signals as calls without Done
}

// DeliverSignal puts a signal among the replies.
func (w *world) DeliverSignal(_, _ string, s *dbus.Signal) { w.arrived <- &dbus.Call{Body: []any{s}} }

func newWorld(t *testing.T) *world {
	t.Helper()
	peripherals, err := proxysim.LoadPeripherals(filepath.Join("..", "..", "internal", "proxysim", "testdata", "golden-peripheral.json"))
	if err != nil {
		t.Fatal(err)
	}
	sim, err := proxysim.New(proxysim.Options{
		Peripherals: peripherals, Log: slog.New(slog.DiscardHandler),
		Proxies: []proxysim.ProxySpec{{ProxyConfig: proxysim.ProxyConfig{Name: "golden"}, Listen: "127.0.0.1:0"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, address: dbustest.Start(t), air: sim.Air(), clients: map[string]*dbus.Conn{}, arrived: make(chan *dbus.Call, 1<<16)}
	run(t, sim.Run)
	cfg, err := config.Parse(fmt.Appendf(nil, "bus: %q\nstate_dir: %s\nproxies: [{name: golden, address: %q}]\n",
		w.address, t.TempDir(), sim.Addr("golden").(*net.TCPAddr)), "test")
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	d := daemon.New(daemon.Options{Config: cfg, Version: "test", Logger: slog.New(slog.DiscardHandler), Ready: func(string) { close(ready) }})
	run(t, d.Run)
	select {
	case <-ready:
	case <-time.After(patience):
		t.Fatal("the daemon is not ready")
	}
	a := w.client("a")
	if err := a.AddMatchSignal(dbus.WithMatchSender("org.bluez")); err != nil {
		t.Fatal(err)
	}
	return w
}

// run runs f until the test ends.
func run(t *testing.T, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// client gives a connection by its name in the recordings.
func (w *world) client(name string) *dbus.Conn {
	w.t.Helper()
	if c := w.clients[name]; c != nil {
		return c
	}
	var opts []dbus.ConnOption
	if name == "a" {
		opts = append(opts, dbus.WithSignalHandler(w))
	}
	c, err := dbus.Connect(w.address, opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	w.clients[name] = c
	return c
}

// call makes a call that has to succeed and is not part of the record.
func (w *world) call(path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	call := w.client("a").Object("org.bluez", path).CallWithContext(ctx, method, 0, args...)
	if call.Err != nil {
		w.t.Fatalf("%s %s: %v", path, method, call.Err)
	}
	return call
}

// until waits for a condition on what the daemon shows; it looks again at every signal.
func (w *world) until(what string, cond func(objects map[string]any) bool) {
	w.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for !cond(w.snapshot()) {
		select {
		case <-w.arrived:
		case <-timer.C:
			w.t.Fatalf("it did not come about that %s", what)
		}
	}
}

// snapshot is GetManagedObjects in the recordings' form.
func (w *world) snapshot() map[string]any {
	w.t.Helper()
	objects := map[string]any{}
	for path, v := range encode(w.call("/", manager+".GetManagedObjects").Body[0]).(map[string]any) {
		objects[path] = v
	}
	return objects
}

// prop looks a property up in a snapshot; nil if it is not there.
func prop(objects map[string]any, path dbus.ObjectPath, iface, name string) any {
	ifaces, _ := objects[string(path)].(map[string]any)
	props, _ := ifaces[iface].(map[string]any)
	v, _ := props[name].(map[string]any)
	return v["value"]
}

// found discovers the device and stops discovery. The driver does so before most scenarios and does not record it.
func (w *world) found(dev dbus.ObjectPath) {
	w.t.Helper()
	w.call(hci0, adapter1+".SetDiscoveryFilter", map[string]any{"Transport": "le"})
	w.call(hci0, adapter1+".StartDiscovery")
	w.until("the device is found by its name", func(o map[string]any) bool { return prop(o, dev, device1, "Name") != nil })
	w.call(hci0, adapter1+".StopDiscovery")
	w.until("discovery has stopped", func(o map[string]any) bool {
		return prop(o, hci0, adapter1, "Discovering") == false && prop(o, dev, device1, "RSSI") == nil
	})
}

// connected connects the device besides, and waits for all that comes with it.
func (w *world) connected(dev dbus.ObjectPath) {
	w.t.Helper()
	w.found(dev)
	w.call(dev, device1+".Connect")
	w.until("services are resolved", func(o map[string]any) bool {
		return prop(o, dev, device1, "ServicesResolved") == true && prop(o, dev, "org.bluez.Battery1", "Percentage") != nil && prop(o, dev, device1, "Modalias") != nil
	})
}

// peripheral does what a request on the control socket of the peripheral would do.
func (w *world) peripheral(e event) error {
	id, _ := e["device"].(string)
	b, err := json.Marshal(e["args"])
	if err != nil {
		return err
	}
	var args struct {
		On              bool    `json:"on"`
		Handle          uint16  `json:"handle"`
		Value           hexData `json:"value"`
		Indicate        bool    `json:"indicate"`
		Reason          int32   `json:"reason"`
		Advertisement   hexData `json:"raw_advertisement"`
		RawScanResponse hexData `json:"raw_scan_response"`
	}
	if err := json.Unmarshal(b, &args); err != nil {
		return err
	}
	switch e["op"] {
	case "advertise":
		err = w.air.Advertise(id, args.On)
	case "set_advertisement":
		err = w.air.SetAdvertisement(id, args.Advertisement, args.RawScanResponse)
	case "disconnect":
		err = w.air.Disconnect(id, args.Reason)
	case "notify":
		err = w.air.Notify(id, args.Handle, args.Value, args.Indicate)
	case "status": // looked at where the recording has the answer
	default:
		return fmt.Errorf("no operation %v", e["op"])
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	w.air.Drain(ctx)
	return err
}

// hexData are bytes in hexadecimal; nil if they are not there.
type hexData []byte

func (h *hexData) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// readFile reads a file of the recordings. Discovery follows the dual-mode controller where that was recorded, as in
// tests/golden.
func readFile(t *testing.T, name string) []byte {
	t.Helper()
	const recordings = "../golden/testdata"
	if strings.HasPrefix(name, "discovery_") || strings.HasPrefix(name, "matrix_discovery") {
		if b, err := os.ReadFile(filepath.Join(recordings, "bluez-5.87-dualmode", name)); err == nil {
			return b
		}
	}
	b, err := os.ReadFile(filepath.Join(recordings, "bluez-5.87", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
