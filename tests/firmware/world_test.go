package firmware

import (
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/daemon"
	"bluez-esphome/internal/privatebus"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/internal/task/tasktest"

	"go.uber.org/goleak"
)

// TestMain lets all tests run at once: they wait for radios most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("8"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// limit is how long a test waits for what must come: so long that only what hangs reaches it, however busy the machine is.
const limit = 8 * time.Minute

// patient makes the daemon as patient as the tests: a proxy of a busy machine may answer late, and is neither dead nor
// unable to connect. The times that it has otherwise, 20 s for both, are tested in fake time (internal/apiconn, internal/gatt).
const patient = "connect: {timeout: 6m, per_path: 5m}\nlink: {ping_after: 2m, dead_after: 6m}\n"

// A station is one proxy and how the daemon is to reach it.
type station struct {
	proxysim.ProxyConfig
	entry  string               // further keys of the proxy in the configuration, as ", key: value"
	before func(address string) // what happens before the daemon starts
	// through, unless nil, is between proxy and daemon.
	through *relay
}

// world is simulated proxies on TCP, a bus and the daemon.
type world struct {
	t    testing.TB
	sim  *proxysim.Simulation
	bus  string
	logs *logs
}

// newWorld starts everything and has one client discover for as long as the test runs.
func newWorld(t testing.TB, stations []station, devices []proxysim.DeviceSpec, further string) *world {
	t.Helper()
	w := &world{t: t, logs: new(logs)}
	specs := make([]proxysim.ProxySpec, len(stations))
	for i, s := range stations {
		specs[i] = proxysim.ProxySpec{ProxyConfig: s.ProxyConfig, Listen: "127.0.0.1:0"}
	}
	var err error
	w.sim, err = proxysim.New(proxysim.Options{Peripherals: devices, Proxies: specs, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Background(t, w.sim.Run)
	yaml := "proxies:\n"
	for _, s := range stations {
		addr := w.sim.Addr(s.Name).String()
		if s.through != nil {
			addr = s.through.listen(t, addr)
		}
		if s.before != nil {
			s.before(addr)
		}
		yaml += fmt.Sprintf("  - {name: %s, address: \"%s\"%s}\n", s.Name, addr, s.entry)
	}
	w.start(yaml + further)
	return w
}

// start starts a bus, and a daemon with that configuration, which has to say how patient the daemon is.
func (w *world) start(yaml string) {
	t := w.t
	t.Helper()
	bus, err := privatebus.Start(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Stop)
	w.bus = bus.Address
	cfg, err := config.Parse([]byte(fmt.Sprintf("bus: \"%s\"\nstate_dir: %s\n", bus.Address, t.TempDir())+yaml), "test")
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	d := daemon.New(daemon.Options{
		Config: cfg, Version: "test", Logger: slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Ready: func(string) { close(ready) },
	})
	tasktest.Background(t, d.Run)
	select {
	case <-ready:
	case <-time.After(limit):
		t.Fatal("the daemon is not ready")
	}
	c := w.connect(t)
	c.call(adapterPath, adapterIface+".StartDiscovery")
}

// together runs a subtest for each name, all at once: they wait for radios most of the time.
func together[T any](t *testing.T, cases []T, name func(T) string, f func(*testing.T, T)) {
	var wg sync.WaitGroup
	for _, c := range cases {
		wg.Go(func() { t.Run(name(c), func(t *testing.T) { f(t, c) }) })
	}
	wg.Wait()
}

// eventually waits until cond holds.
func eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	// A hundred of these run at once: what is long in coming is asked for seldom.
	for pause := 25 * time.Millisecond; !cond(); pause = min(2*pause, 800*time.Millisecond) {
		select {
		case <-time.After(pause):
		case <-timeout.C:
			t.Fatalf("it did not come about within %v that %s", within, what)
		}
	}
}

// logs keeps what the daemon logs.
type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimSuffix(string(p), "\n")+" \n") // so that every value has a space behind it
	return len(p), nil
}

// with lists the lines that contain all of parts.
func (l *logs) with(parts ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.lines), func(line string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) })
	})
}

// dump prints the lines about some words when the test has failed.
func (l *logs) dump(t testing.TB, any ...string) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		var b strings.Builder
		for _, line := range l.with() {
			if slices.ContainsFunc(any, func(p string) bool { return strings.Contains(line, p) }) {
				b.WriteString(line)
			}
		}
		s := b.String()
		t.Logf("the daemon's log:\n%s", s[max(0, len(s)-6000):])
	})
}
