package daemon_test

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/config"
	"bluez-esphome/internal/daemon"
	"bluez-esphome/internal/dbusobj/dbustest"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/internal/status"
	"bluez-esphome/internal/task/tasktest"

	"github.com/godbus/dbus/v5"
)

// limit bounds each wait of these tests; it is never reached when things work.
const limit = 3 * time.Minute

// simulate runs proxies on loopback until the test ends and returns their addresses.
func simulate(t *testing.T, names ...string) map[string]string {
	t.Helper()
	peripherals, err := proxysim.DemoPeripherals()
	if err != nil {
		t.Fatal(err)
	}
	var specs []proxysim.ProxySpec
	for _, n := range names {
		specs = append(specs, proxysim.ProxySpec{ProxyConfig: proxysim.ProxyConfig{Name: n}, Listen: "127.0.0.1:0"})
	}
	sim, err := proxysim.New(proxysim.Options{Peripherals: peripherals, Proxies: specs, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Background(t, sim.Run)
	addrs := map[string]string{}
	for _, n := range names {
		addrs[n] = sim.Addr(n).String()
	}
	return addrs
}

// configOf makes a configuration with some of the proxies.
func configOf(t *testing.T, bus string, addrs map[string]string, names ...string) *config.Config {
	t.Helper()
	text := fmt.Sprintf("bus: %q\nstate_dir: %q\nproxies:\n", bus, t.TempDir())
	for _, n := range names {
		text += fmt.Sprintf("  - {name: %s, address: %q}\n", n, addrs[n])
	}
	cfg, err := config.Parse([]byte(text), "test")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// run starts a daemon that is stopped with the test, and waits until it owns org.bluez.
func run(t *testing.T, cfg *config.Config) (*daemon.Daemon, *logBuffer) {
	t.Helper()
	logged := &logBuffer{}
	ready := make(chan struct{})
	d := daemon.New(daemon.Options{Config: cfg, Version: "test", Logger: slog.New(slog.NewTextHandler(logged, nil)), Ready: func(string) { close(ready) }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the daemon ended with %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("the daemon ended at once: %v", err)
	case <-time.After(limit):
		t.Fatal("the daemon does not get ready")
	}
	return d, logged
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// sessions counts how often a proxy came online.
func (b *logBuffer) sessions(proxy string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), `msg="Proxy is online" proxy=`+proxy+" ")
}

// awaitSessions wants so many sessions of a proxy. The last may be about to be logged: the state changes just before.
func (b *logBuffer) awaitSessions(t *testing.T, proxy string, want int) {
	t.Helper()
	for deadline := time.Now().Add(limit); b.sessions(proxy) < want && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if got := b.sessions(proxy); got != want {
		t.Errorf("%s had %d sessions, want %d", proxy, got, want)
	}
}

// await asks the daemon again and again until its proxies are as wanted.
func await(t *testing.T, bus string, want map[string]string) {
	t.Helper()
	var got map[string]string
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		r, err := status.Ask(t.Context(), bus)
		if err != nil {
			t.Fatal(err)
		}
		got = map[string]string{}
		for _, p := range r.Proxies {
			got[p.Name] = p.State
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
	}
	t.Fatalf("proxies %v, want %v", got, want)
}

// A reload adds and removes proxies and leaves the others' sessions alone.
func TestReload(t *testing.T) {
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed (apt install dbus-daemon)")
	}
	bus := dbustest.Start(t)
	addrs := simulate(t, "kitchen", "garage")
	first := configOf(t, bus, addrs, "kitchen")
	d, logged := run(t, first)
	await(t, bus, map[string]string{"kitchen": "online"})

	both := configOf(t, bus, addrs, "garage", "kitchen") // in another order
	d.Reload(both)
	await(t, bus, map[string]string{"kitchen": "online", "garage": "online"})

	changed := configOf(t, bus, addrs, "kitchen", "garage")
	changed.Proxies[1].ScanMode = config.ScanPassive
	d.Reload(changed)
	await(t, bus, map[string]string{"kitchen": "online", "garage": "online"})

	d.Reload(configOf(t, bus, addrs, "garage"))
	await(t, bus, map[string]string{"garage": "online"})
	logged.awaitSessions(t, "garage", 3) // it changed twice
	logged.awaitSessions(t, "kitchen", 1)
	d.Reload(configOf(t, bus, addrs))
	await(t, bus, map[string]string{})
}

// A proxy whose configuration changes while it has a link is back at once: the link that it still shows is no other
// host's.
func TestReloadOfProxyWithLink(t *testing.T) {
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed (apt install dbus-daemon)")
	}
	bus := dbustest.Start(t)
	addrs := simulate(t, "kitchen")
	d, logged := run(t, configOf(t, bus, addrs, "kitchen"))
	await(t, bus, map[string]string{"kitchen": "online"})
	conn, err := dbus.Connect(bus)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	connected := func() error {
		adapter, device := conn.Object("org.bluez", "/org/bluez/hci0"), conn.Object("org.bluez", "/org/bluez/hci0/dev_C8_2B_96_10_00_01")
		adapter.Call("org.bluez.Adapter1.StartDiscovery", 0) // again: InProgress
		return device.Call("org.bluez.Device1.Connect", 0).Err
	}
	for end := time.Now().Add(limit); connected() != nil; {
		if time.Now().After(end) {
			t.Fatal(connected())
		}
	}
	r, err := status.Ask(t.Context(), bus)
	if err != nil {
		t.Fatal(err)
	}
	links := r.Proxies[0].Links
	if len(links) != 1 || links[0].Address != "C8:2B:96:10:00:01" || links[0].State != "connected" || links[0].Since == 0 || !slices.Equal(links[0].Owners, []string{"D-Bus"}) {
		t.Errorf("links %+v", links)
	}
	changed := configOf(t, bus, addrs, "kitchen")
	changed.Proxies[0].ScanMode = config.ScanPassive
	d.Reload(changed)
	await(t, bus, map[string]string{"kitchen": "online"})
	logged.awaitSessions(t, "kitchen", 2) // it was not taken for another host's
}
