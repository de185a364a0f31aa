package connections

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/daemon"
	"bluez-esphome/internal/privatebus"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/internal/task/tasktest"

	"github.com/godbus/dbus/v5"
)

// limit is how long a test waits for anything: far longer than it takes, since machines may be slow.
const limit = 4 * time.Minute

// The four proxies of most tests, the first hearing best.
var compass = []string{"north", "east", "south", "west"}

// world is simulated proxies on TCP, a bus and the daemon.
type world struct {
	t    testing.TB
	sim  *proxysim.Simulation
	bus  string
	logs *logs
	yaml string // the daemon's configuration
	stop func() // ends the daemon; the rest ends with the test
	*client
}

// setup is what a world consists of.
type setup struct {
	devices []proxysim.DeviceSpec
	proxies []proxysim.ProxyConfig // if empty, those of compass
	config  string                 // further lines of the configuration
	entry   map[string]string      // further keys of a proxy in the configuration, as ", key: value"
}

// newWorld starts everything and waits until each device is on the bus.
func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	w := &world{t: t, logs: new(logs)}
	if s.proxies == nil {
		for _, name := range compass {
			s.proxies = append(s.proxies, proxysim.ProxyConfig{Name: name})
		}
	}
	specs := make([]proxysim.ProxySpec, len(s.proxies))
	for i, p := range s.proxies {
		specs[i] = proxysim.ProxySpec{ProxyConfig: p, Listen: "127.0.0.1:0"}
	}
	var err error
	w.sim, err = proxysim.New(proxysim.Options{Peripherals: s.devices, Proxies: specs, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Background(t, w.sim.Run)
	bus, err := privatebus.Start(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Stop)
	w.bus = bus.Address

	yaml := fmt.Sprintf("bus: \"%s\"\nstate_dir: %s\n%s\nproxies:\n", bus.Address, t.TempDir(), s.config)
	for _, p := range w.sim.Proxies() {
		yaml += fmt.Sprintf("  - {name: %s, address: \"%s\"%s}\n", p.Name(), w.sim.Addr(p.Name()).(*net.TCPAddr), s.entry[p.Name()])
	}
	w.yaml = yaml
	w.start(yaml)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", w.logs.tail())
		}
	})
	w.client = w.connect()
	w.Call(adapterPath, adapterIface+".StartDiscovery")
	for _, d := range s.devices {
		w.heard(d)
	}
	return w
}

// start starts a daemon; stop ends it.
func (w *world) start(yaml string) {
	w.t.Helper()
	cfg, err := config.Parse([]byte(yaml), "test")
	if err != nil {
		w.t.Fatal(err)
	}
	ready := make(chan struct{})
	d := daemon.New(daemon.Options{
		Config: cfg, Version: "test", Logger: slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Ready: func(string) { close(ready) },
	})
	w.stop = tasktest.Background(w.t, d.Run)
	within(w.t, "the daemon is ready", ready)
}

// heard waits until every proxy that hears the device has reported it.
func (w *world) heard(d proxysim.DeviceSpec) {
	w.t.Helper()
	path := devicePath(d)
	eventually(w.t, fmt.Sprintf("%s is heard by all", d.ID), func() bool {
		call := w.object(path).Call(properties+".Get", 0, extensionIface, "Sources")
		var v dbus.Variant
		if call.Err != nil || call.Store(&v) != nil {
			return false
		}
		return len(v.Value().([]map[string]dbus.Variant)) == len(d.RSSI)
	})
}

// eventually waits until cond holds; in the test's goroutine only.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !poll(t, what, cond) {
		t.FailNow()
	}
}

// poll waits until cond holds, and reports whether it came to that.
func poll(t testing.TB, what string, cond func() bool) bool {
	t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-timeout.C:
			t.Errorf("it did not come about that %s", what)
			return false
		}
	}
	return true
}

// within waits for done.
func within(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		t.Fatalf("it did not come about that %s", what)
	}
}

// logs keeps what the daemon logs.
type logs struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// count is the number of lines that contain all of parts.
func (l *logs) count(parts ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
lines:
	for line := range strings.Lines(l.buf.String()) {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue lines
			}
		}
		n++
	}
	return n
}

func (l *logs) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.buf.String()
	return s[max(0, len(s)-8000):]
}
