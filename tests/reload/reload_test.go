package reload

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bluez-esphome/internal/status"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

const (
	greetingUUID = "b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50"
	counterUUID  = "b1e50004-6d5e-4c1b-9e3a-1f0c2d3e4f50"

	busClients   = 16 // on a connection of godbus each
	bleakClients = 4  // processes
	reloads      = 50
	notifyEvery  = 100 // milliseconds
)

var key = base64.StdEncoding.EncodeToString([]byte("the key of the encrypted proxies"))

// stable proxies are in every configuration, and the clients' links are theirs; the others come, change and go.
var (
	stable    = []string{"kitchen", "garage", "attic"}
	transient = []string{"shed", "porch", "cellar"}
)

// encrypted proxies have a key.
func encrypted(name string) bool { return name == "garage" || name == "porch" }

func address(i int) string { return fmt.Sprintf("C8:2B:96:20:00:%02X", i) }

func devicePath(i int) dbus.ObjectPath {
	return adapterPath + "/dev_" + dbus.ObjectPath(strings.ReplaceAll(address(i), ":", "_"))
}

// peripherals writes a file with a counting device for each client. The transient proxies hear them best.
func peripherals(t *testing.T, n int) string {
	t.Helper()
	var devices []map[string]any
	for i := range n {
		devices = append(devices, map[string]any{
			"id": fmt.Sprint("counter", i), "address": address(i), "address_type": "public", "connectable": true, "mtu": 247,
			"advertisement": map[string]any{"flags": 6, "local_name": fmt.Sprint("Counter ", i), "interval_ms": 200},
			"rssi":          map[string]int{stable[i%3]: -55, stable[(i+1)%3]: -60, stable[(i+2)%3]: -65, "*": -40}, "rssi_jitter": 3,
			"gatt": map[string]any{"services": []map[string]any{{
				"uuid": "b1e50001-6d5e-4c1b-9e3a-1f0c2d3e4f50",
				"characteristics": []map[string]any{{"uuid": greetingUUID, "properties": []string{"read"}, "value": "68656c6c6f"}, {
					"uuid": counterUUID, "properties": []string{"read", "notify"}, "value": "00", "notify_every_ms": notifyEvery,
					"descriptors": []map[string]any{{"uuid": "00002902-0000-1000-8000-00805f9b34fb", "value": "0000", "writable": true}},
				}},
			}}},
		})
	}
	b, err := json.Marshal(map[string]any{"format": 1, "devices": devices})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "peripherals.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fixture is the daemon with its proxies, each behind a relay.
type fixture struct {
	t      *testing.T
	bus    *harness.Bus
	relays map[string]*relay
	path   string // of the configuration
	good   int    // reloads that were applied
	bad    int    // those that were refused
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	var proxies []string
	for _, name := range slices.Concat(stable, transient) {
		spec := name + "=127.0.0.1:0,slots=9"
		if encrypted(name) {
			spec += ",psk=" + key
		}
		proxies = append(proxies, spec)
	}
	_, targets := harness.Simulate(t, peripherals(t, busClients+bleakClients), proxies...)
	f := &fixture{t: t, relays: map[string]*relay{}}
	for name, target := range targets {
		f.relays[name] = newRelay(t, target)
	}
	place := harness.NewPlace(t)
	f.path = filepath.Join(place.Dir, "config.yaml") // where Run writes it
	f.bus = place.Run(t, f.config(entries(stable...), ""))
	return f
}

// entry is a proxy in the configuration.
type entry struct{ name, proxy, further string }

func entries(names ...string) (out []entry) {
	for _, n := range names {
		out = append(out, entry{name: n, proxy: n})
	}
	return out
}

func (f *fixture) config(proxies []entry, further string) string {
	var b strings.Builder
	b.WriteString("log: {level: info}\nproxies:\n")
	for _, e := range proxies {
		fmt.Fprintf(&b, "  - {name: %s, address: %q%s", e.name, f.relays[e.proxy].address, e.further)
		if encrypted(e.proxy) {
			fmt.Fprintf(&b, ", noise_psk: %q", key)
		}
		b.WriteString("}\n")
	}
	return b.String() + further
}

// reload has the daemon read another configuration, and waits until it has said what it makes of it.
func (f *fixture) reload(text string, wantApplied bool) {
	f.t.Helper()
	if text == "" {
		if err := os.Remove(f.path); err != nil {
			f.t.Fatal(err)
		}
	} else if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.bus.Daemon.Signal(f.t, syscall.SIGHUP)
	m := f.bus.Daemon.Err.Expect(f.t, `The configuration (was read again|has mistakes; nothing was changed)`)
	applied := m[1] == "was read again"
	if applied != wantApplied {
		f.t.Fatalf("the configuration %s:\n%s", m[1], text)
	}
	if applied {
		f.good++
	} else {
		f.bad++
	}
}

// proxies asks the daemon for the names of its proxies and their states.
func (f *fixture) proxies() map[string]string {
	f.t.Helper()
	r, err := status.Ask(f.t.Context(), f.bus.Address)
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string]string{}
	for _, p := range r.Proxies {
		out[p.Name] = p.State
	}
	return out
}

// await waits until these proxies, and no others, are there and online.
func (f *fixture) await(names ...string) {
	f.t.Helper()
	want := map[string]string{}
	for _, n := range names {
		want[n] = "online"
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(harness.Limit); ; {
		got := f.proxies()
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		if time.Now().After(end) {
			f.t.Fatalf("proxies %v, want %v", got, want)
		}
		<-tick.C
	}
}

// TestReloadUnderLoad: 50 reloads, a third of them of files with mistakes, while 20 clients hold links and get
// notifications. No client notices anything, and the proxies that stay keep their sessions.
func TestReloadUnderLoad(t *testing.T) {
	f := newFixture(t)
	f.await(stable...)
	looker := f.bus.Connect(t) // discovers all the time, as the load
	if err := looker.Object("org.bluez", adapterPath).Call(adapterIface+".StartDiscovery", 0).Err; err != nil {
		t.Fatal(err)
	}
	waitForDevices(t, f.bus)

	var clients []*client
	for i := range busClients {
		clients = append(clients, newClient(t, f.bus, devicePath(i)))
	}
	var bleaks []*harness.Proc
	for i := range bleakClients {
		mode := []string{"acquire", "start"}[i%2]
		bleaks = append(bleaks, harness.Start(t, f.bus.Env(), harness.Python(t), "notify_client.py", address(busClients+i), counterUUID, mode))
	}
	for _, p := range bleaks {
		p.Out.Expect(t, "READY")
	}
	links := f.links()
	if len(links) != busClients+bleakClients {
		t.Fatalf("%d links before the first reload: %v", len(links), links)
	}
	descriptors := f.bus.Daemon.Descriptors(t)

	for round := range reloads / 10 {
		f.round(round, clients)
	}
	f.await(stable...)
	if f.good != reloads*7/10 || f.bad != reloads*3/10 {
		t.Errorf("%d reloads were applied and %d refused", f.good, f.bad)
	}
	for _, c := range clients {
		c.await(5)
	}
	if now := f.links(); fmt.Sprint(now) != fmt.Sprint(links) {
		t.Errorf("links %v, before %v", now, links)
	}
	for _, name := range stable {
		if r := f.relays[name]; r.opened.Load() != 1 || r.closed.Load() != 0 {
			t.Errorf("%s, which no reload touched, had %d connections, of which %d ended", name, r.opened.Load(), r.closed.Load())
		}
	}
	come := 0
	for _, name := range transient {
		r := f.relays[name]
		come += int(r.opened.Load())
		if r.opened.Load() == 0 {
			t.Errorf("%s was never connected: the test tested nothing", name)
		}
	}
	if n := f.bus.Daemon.Descriptors(t); n > descriptors+3 {
		t.Errorf("the daemon has %d open descriptors, before the reloads %d", n, descriptors)
	}
	total, reads := 0, 0
	for _, c := range clients {
		c.end()
		total, reads = total+int(c.values.Load()), reads+int(c.reads.Load())
	}
	for _, p := range bleaks {
		p.Send(t, "")
		var n int
		if _, err := fmt.Sscan(p.Out.Expect(t, `GOT (\d+)|FAILED.*`)[1], &n); err != nil {
			t.Errorf("a bleak client noticed: %s", p.Out)
		}
		if status := p.Wait(t, harness.Limit); status != 0 {
			t.Errorf("a bleak client ended with status %d", status)
		}
		total += n
	}
	t.Logf("%d reloads applied, %d refused, %d sessions with proxies that come and go; %d notifications in order, %d reads", f.good, f.bad, come, total, reads)
}

// round is ten reloads. Odd rounds don't wait for the proxies that they add.
func (f *fixture) round(round int, clients []*client) {
	f.t.Helper()
	settle := func(names ...string) {
		if round%2 == 0 {
			f.await(names...)
		}
		clients[round].await(3)
	}
	refused := func(text string) {
		before := f.proxies()
		f.reload(text, false)
		if after := f.proxies(); len(after) != len(before) {
			f.t.Errorf("a file with mistakes changed the proxies from %v to %v", before, after)
		}
		clients[round].await(3)
	}
	all := slices.Concat(stable, transient)
	reversed := slices.Clone(stable)
	slices.Reverse(reversed)

	f.reload(f.config(entries(append(stable, "shed")...), ""), true)
	settle(append(stable, "shed")...)
	f.reload(f.config(entries(all...), ""), true)
	settle(all...)
	refused(f.config(entries(all...), "") + " - {address: kitchen.local}\n")
	changed := entries(all...)
	changed[3].further = ", scan_mode: passive"
	f.reload(f.config(changed, ""), true)
	settle(all...)
	f.reload(f.config(entries(append(reversed, "shed", "porch")...), ""), true)
	settle(append(stable, "shed", "porch")...)
	refused(f.config(entries(stable...), "max_device: 7\n"))
	f.reload(f.config(entries(append(stable, "shed", "porch")...), fmt.Sprintf("devices: [{address: %q, pin: shed}]\n", address(round))), true)
	settle(append(stable, "shed", "porch")...)
	renamed := entries(append(stable, "shed", "porch")...)
	renamed[4].name = "veranda"
	f.reload(f.config(renamed, ""), true)
	settle(append(stable, "shed", "veranda")...)
	refused("")
	f.reload(f.config(entries(stable...), fmt.Sprintf("max_devices: %d\n", 1000+round)), true) // --bus is no change
	if m := f.bus.Daemon.Err.Expect(f.t, `take effect only when the daemon is started again" (.*)`); m[1] != "keys=[max_devices]" {
		f.t.Errorf("what waits for a restart: %s", m[1])
	}
	settle(stable...)
}

// links are the devices that are connected, and through which proxies.
func (f *fixture) links() map[string]string {
	f.t.Helper()
	r, err := status.Ask(f.t.Context(), f.bus.Address)
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string]string{}
	for _, p := range r.Proxies {
		for _, a := range p.Allocated {
			out[a] += p.Name
		}
	}
	return out
}

// waitForDevices waits until every device is on the bus.
func waitForDevices(t *testing.T, bus *harness.Bus) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(harness.Limit); ; {
		r, err := status.Ask(t.Context(), bus.Address)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Devices) == busClients+bleakClients {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("only %d devices are on the bus", len(r.Devices))
		}
		<-tick.C
	}
}
