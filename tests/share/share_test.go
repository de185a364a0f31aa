package share

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/daemon"
	"bluez-esphome/internal/privatebus"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/internal/task/tasktest"
	"bluez-esphome/tests/harness"
)

// limit is how long a test waits for anything: far longer than it takes.
const limit = 4 * time.Minute

var key = base64.StdEncoding.EncodeToString([]byte("the key of the shared proxies ok"))

// world is simulated proxies, a bus and a daemon that shares the proxies.
type world struct {
	sim  *proxysim.Simulation
	bus  *privatebus.Bus
	port int // of the first shared proxy
	logs *logs
	yaml string

	daemon *daemon.Daemon
	stop   func() // ends it
}

// realMAC is the network address of the i-th simulated proxy.
func realMAC(i int) ble.Address { return 0x246f28000000 + ble.Address(i) }

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

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// setup is what differs between worlds.
type setup struct {
	share string // further keys of the section share
	more  string // further sections
	entry string // further keys of each proxy
	plain bool   // shared without a key
	proxy func(*proxysim.ProxyConfig)
	first func(addr string) // is called with each proxy before the daemon knows it
}

// newWorld starts everything. Share are further keys of the section share.
func newWorld(t *testing.T, share string, names ...string) *world {
	t.Helper()
	return newWorldOf(t, setup{share: share}, names...)
}

func newWorldOf(t *testing.T, s setup, names ...string) *world {
	t.Helper()
	peripherals, err := proxysim.DemoPeripherals()
	if err != nil {
		t.Fatal(err)
	}
	var specs []proxysim.ProxySpec
	for i, n := range names {
		spec := proxysim.ProxySpec{ProxyConfig: proxysim.ProxyConfig{Name: n, MAC: realMAC(i)}, Listen: "127.0.0.1:0"}
		if s.proxy != nil {
			s.proxy(&spec.ProxyConfig)
		}
		specs = append(specs, spec)
	}
	w := &world{logs: &logs{}, port: harness.FreePort(t)}
	w.sim, err = proxysim.New(proxysim.Options{Peripherals: peripherals, Proxies: specs, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Background(t, w.sim.Run)
	for _, n := range names {
		if s.first != nil {
			s.first(w.sim.Addr(n).String())
		}
	}
	w.bus, err = privatebus.Start(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.bus.Stop)
	shareKey := key
	if s.plain {
		shareKey = ""
	}
	w.yaml = fmt.Sprintf("bus: %q\nstate_dir: %q\n%s\nshare: {listen: 127.0.0.1, base_port: %d, noise_psk: %q%s}\nproxies:\n",
		w.bus.Address, t.TempDir(), s.more, w.port, shareKey, s.share)
	for i, n := range names {
		w.yaml += fmt.Sprintf("  - {name: %s, address: %q", n, w.sim.Addr(n).String())
		if psk := specs[i].PSK; psk != nil {
			w.yaml += fmt.Sprintf(", noise_psk: %q", base64.StdEncoding.EncodeToString(psk[:]))
		}
		w.yaml += s.entry + "}\n"
	}
	t.Cleanup(func() {
		if t.Failed() {
			s := w.logs.String()
			t.Logf("the daemon's log:\n%s", s[max(0, len(s)-8000):])
		}
	})
	w.start(t)
	shared := len(names)
	if strings.Contains(s.share, merged) {
		shared = 1
	}
	eventually(t, "hosts can come", func() bool { return strings.Count(w.logs.String(), "The proxy is shared") >= shared })
	return w
}

func (w *world) start(t *testing.T) {
	t.Helper()
	cfg := w.config(t, w.yaml)
	ready := make(chan struct{})
	d := daemon.New(daemon.Options{
		Config: cfg, Version: "test", Logger: slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Ready: func(string) { close(ready) },
	})
	w.daemon, w.stop = d, tasktest.Background(t, d.Run)
	select {
	case <-ready:
	case <-time.After(limit):
		t.Fatal("the daemon does not get ready")
	}
}

func (w *world) config(t *testing.T, yaml string) *config.Config {
	t.Helper()
	cfg, err := config.Parse([]byte(yaml), "test")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	harness.Eventually(t, limit, what, cond)
}

// python starts a client of this folder; its input ends when stdin is closed.
func (w *world) python(t *testing.T, script string, args ...string) (cmd *exec.Cmd, stdin io.Closer, out *logs) {
	t.Helper()
	python := harness.Python(t)
	cmd = exec.CommandContext(t.Context(), python, append([]string{harness.Path(t, "tests", "share", script)}, args...)...)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+w.bus.Address)
	out = &logs{}
	cmd.Stdout, cmd.Stderr = out, out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, in, out
}

// TestHosts: ESPHome's client library and Home Assistant's Bluetooth stack use a shared proxy while bleak uses another
// device on it by D-Bus.
func TestHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "hall")
	bus, end, busOut := w.python(t, "bus_client.py")
	eventually(t, "bleak is connected", func() bool { return strings.Contains(busOut.String(), "connected") })
	host, _, out := w.python(t, "host_client.py", "127.0.0.1", fmt.Sprint(w.port), key, "hall", realMAC(0).String(), "2")
	if err := host.Wait(); err != nil {
		t.Errorf("the host's checks failed: %v\n%s", err, out)
	} else {
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		t.Log(lines[len(lines)-1])
	}
	_ = end.Close()
	if err := bus.Wait(); err != nil {
		t.Errorf("the program on D-Bus failed: %v\n%s", err, busOut)
	}
	t.Log(strings.TrimSpace(busOut.String()))
}
