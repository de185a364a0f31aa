package controller

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bluez-esphome/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// limit is how long one host may take: it makes hundreds of round trips through three processes, on a machine that may
// be busy.
const limit = 8 * time.Minute

// world is a daemon without a bus, with one proxy and controllers.
type world struct {
	place       harness.Place
	peripherals string
	config      string
	hci         int    // number of controllers
	control     string // socket by which a test controls the peripheral
	daemon      *harness.Proc
}

// recorded gives the path of the file with the peripherals of the recordings.
func recorded(t *testing.T) string {
	return harness.Path(t, "internal", "proxysim", "testdata", "golden-peripheral.json")
}

// newWorld starts a world. hci is the entries of the daemon's hci option; PLACE in them stands for the folder of the
// test.
func newWorld(t *testing.T, hci ...string) *world {
	t.Helper()
	return newWorldOf(t, recorded(t), hci...)
}

// newWorldOf is newWorld with the peripherals of another file.
func newWorldOf(t *testing.T, peripherals string, hci ...string) *world {
	t.Helper()
	w := &world{place: harness.NewPlace(t), peripherals: peripherals, hci: len(hci)}
	controls := filepath.Join(w.place.Dir, "control")
	w.control = filepath.Join(controls, "main.sock")
	sim := harness.Start(t, w.place.Env(), harness.Binary(), "simulate", "--peripherals", w.peripherals, "--proxy", "kitchen=127.0.0.1:0", "--control", controls)
	addr := sim.Out.Expect(t, `proxy (\S+) listens on (\S+)`)[2]
	config := fmt.Sprintf("bus: none\nproxies: [{address: %q, name: kitchen}]\nhci:\n", addr)
	for _, h := range hci {
		config += "  - {" + strings.ReplaceAll(h, "PLACE", w.place.Dir) + "}\n"
	}
	w.config = filepath.Join(w.place.Dir, "config.yaml")
	if err := os.WriteFile(w.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start(t)
	return w
}

// state is the daemon's folder for state.
func (w *world) state() string { return filepath.Join(w.place.Dir, "state") }

// start starts the daemon and waits until hosts may come.
func (w *world) start(t *testing.T) {
	t.Helper()
	w.daemon = harness.Start(t, w.place.Env(), harness.Binary(), "run", "--config", w.config)
	for range w.hci {
		w.daemon.Err.Expect(t, `A controller waits for its host`)
	}
	w.daemon.Err.Expect(t, `Proxy is online`)
}

// passes waits for the end of a host, and checks that it succeeded and printed each of the steps once.
func passes(t *testing.T, p *harness.Proc, steps ...string) {
	t.Helper()
	if status := p.Wait(t, limit); status != 0 {
		t.Fatalf("the host exited with %d", status)
	}
	for _, s := range steps {
		if p.Out.Count(`(?m)^STEP `+s+`\b`) != 1 {
			t.Errorf("step %s is missing", s)
		}
	}
}

var bumbleSteps = []string{"power", "scan", "connect", "list", "read", "write", "command", "notify", "indicate", "pair", "disconnect", "encrypt", "dropped", "absent", "cycles"}

// bumble runs the Bumble host. more is its further arguments: "bonded" if the proxy has a bond with the peripheral.
func (w *world) bumble(t *testing.T, transport string, cycles int, more ...string) {
	t.Helper()
	args := []string{harness.Path(t, "tests", "controller", "bumble_client.py"), transport, w.peripherals, w.control, strconv.Itoa(cycles)}
	passes(t, harness.Start(t, w.place.Env(), harness.Python(t), append(args, more...)...), bumbleSteps...)
}

// TestBumbleTCP: everything that a host does, over TCP, and a hundred connections one after another.
func TestBumbleTCP(t *testing.T) {
	t.Parallel()
	port := strconv.Itoa(harness.FreePort(t))
	w := newWorld(t, `tcp: "`+port+`"`)
	w.bumble(t, "tcp-client:127.0.0.1:"+port, 100)
}

// TestBumbleUnix: the same over a unix socket, by two hosts one after the other. The second one finds no keys of the
// first one, but the bond of the proxy.
func TestBumbleUnix(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "unix: PLACE/hci.sock, proxies: [kitchen]")
	transport := "unix:" + filepath.Join(w.place.Dir, "hci.sock")
	w.bumble(t, transport, 2)
	w.bumble(t, transport, 2, "bonded")
	if info, err := os.Stat(filepath.Join(w.place.Dir, "hci.sock")); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v, %v", info, err)
	}
}

// TestNoble: noble with its driver for serial lines, over a pseudo terminal: what Bumble does, and a hundred
// connections by the second host, which gets a terminal of its own.
func TestNoble(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed (apt install nodejs)")
	}
	dir := harness.Path(t, "tests", "controller", "node")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@stoprocent", "noble")); err != nil {
		t.Skip("noble is not installed (make test does it where npm is)")
	}
	w := newWorld(t, "pty: PLACE/tty")
	tty := filepath.Join(w.place.Dir, "tty")
	for _, cycles := range []string{"2", "100"} {
		passes(t, harness.Start(t, w.place.Env(), "node", filepath.Join(dir, "noble_client.js"), tty, w.control, cycles),
			"power", "scan", "connect", "list", "read", "write", "command", "notify", "indicate", "pair", "disconnect", "encrypt", "dropped", "cycles")
	}
	w.daemon.Stop(t)
	if _, err := os.Lstat(tty); err == nil {
		t.Error("the link to the terminal is left behind")
	}
}
