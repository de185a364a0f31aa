package firmware

import (
	"slices"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// versions are the firmware versions that differ in something that we see.
var versions = []string{
	"2022.8", "2022.10", "2022.12", "2023.3", "2023.4", "2023.6", "2024.6", "2024.10", "2025.2", "2025.5", "2025.7", "2025.8", "2025.9",
	"2025.11", "2026.1", "2026.3", "2026.6", "2026.7", "2026.8", "2026.10",
}

// atLeast compares versions by their place in the list.
func atLeast(version, than string) bool {
	return slices.Index(versions, version) >= slices.Index(versions, than)
}

// A board is what differs by chip and configuration.
type board struct {
	name     string
	passive  bool
	features ble.Features // 0: an ESP32's
	from     string       // the first version in which it has a proxy at all
}

var boards = []board{
	{name: "esp32", from: "2022.8"},
	{name: "passive", passive: true, from: "2022.8"},
	{name: "rp2", features: 0xef, from: "2023.6"}, // really 2026.8; the flags are to be heeded whenever there are any
}

// An access is how the API is protected.
type access struct {
	name    string
	until   string // the last version with it, "" for all
	protect func(*station)
}

var accesses = []access{
	{name: "plain", protect: func(*station) {}},
	{name: "noise", protect: func(s *station) {
		s.PSK = &[32]byte{1, 2, 3}
		s.entry = `, noise_psk: "AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`
	}},
	{name: "password", until: "2025.11", protect: func(s *station) { s.Password, s.entry = "sesame", `, password: "sesame"` }},
	{name: "keyless", protect: func(s *station) { s.Unprovisioned = true }},
}

// A cell is one proxy of the matrix with its own peripheral.
type cell struct {
	version string
	board   board
	station station
	device  proxysim.DeviceSpec
}

// cells are all combinations by night; by day each version has an ESP32 in plaintext, and one of the others in turn.
func cells() []cell {
	var out []cell
	number := 0
	for n, v := range versions {
		begin := len(out)
		for _, b := range boards {
			for _, a := range accesses {
				if !atLeast(v, b.from) || a.until != "" && atLeast(v, a.until) && v != a.until || b.name != "esp32" && a.name != "plain" {
					continue
				}
				name := strings.ReplaceAll(v, ".", "-") + "-" + b.name + "-" + a.name
				c := cell{version: v, board: b, device: peripheral(number, name)}
				number++
				c.station.ProxyConfig = proxysim.ProxyConfig{Name: name, Version: v + ".1", Passive: b.passive || v == "2022.8", Features: b.features}
				a.protect(&c.station)
				out = append(out, c)
			}
		}
		if others := out[begin+1:]; !harness.Nightly() {
			out = append(out[:begin+1], others[n%len(others)])
		}
	}
	return out
}

// connects: the proxy can be asked for connections. Before 2022.12 it wants a request that later firmware does not
// know.
func (c cell) connects() bool { return !c.board.passive && atLeast(c.version, "2022.12") }

func (c cell) pairs() bool { return atLeast(c.version, "2023.3") }

// TestMatrix does everything that a program does, through every firmware on every board, all proxies at once in one
// daemon.
func TestMatrix(t *testing.T) {
	t.Parallel()
	all := cells()
	var stations []station
	var devices []proxysim.DeviceSpec
	for _, c := range all {
		stations, devices = append(stations, c.station), append(devices, c.device)
	}
	w := newWorld(t, stations, devices, patient)
	together(t, all, func(c cell) string { return c.station.Name }, func(t *testing.T, c cell) { c.play(t, w) })
	t.Logf("%d proxies of %d versions", len(all), len(versions))
}

// play is the life of one cell.
func (c cell) play(t *testing.T, w *world) {
	name, path := c.station.Name, devicePath(c.device)
	w.logs.dump(t, name, c.device.Address.String())
	b, proxy := w.connect(t), w.sim.Proxy(name)

	b.until(limit, proxyPath(name), proxyIface, "State", "online")
	if v := b.get(proxyPath(name), proxyIface, "ESPHomeVersion"); v != c.version+".1" {
		t.Errorf("ESPHomeVersion is %v", v)
	}
	b.advertised(path, !atLeast(c.version, "2023.6"))
	if !c.connects() {
		text := b.refused(connectTime, "org.bluez.Error.Failed", path, deviceIface+".Connect")
		if !strings.HasPrefix(text, "le-connection-refused (") || !strings.Contains(text, name) {
			t.Errorf("Connect said %q", text)
		}
		if len(w.logs.with("level=WARN", name, c.version)) == 0 && len(w.logs.with("level=INFO", name, "does not make connections")) == 0 {
			t.Error("the log does not say why it could not connect")
		}
		return
	}
	b.link(path)
	if strings.HasSuffix(name, "plain") { // the whole tree is much to read
		got := b.database(path)
		slices.Sort(got)
		if diff := cmp.Diff(wantDatabase, got); diff != "" {
			t.Errorf("the database is wrong (-want +got):\n%s", diff)
		}
	}
	c.exchange(t, w, b)
	c.pair(t, w, b)
	c.part(t, w, b)

	// What the proxy does: it restarts.
	proxy.Restart(300 * time.Millisecond)
	b.until(limit, path, deviceIface, "Connected", false)
	b.until(limit, proxyPath(name), proxyIface, "State", "online")
	eventually(t, limit, "the device is heard again", proxy.Subscribed)
	b.link(path)
	b.call(path, deviceIface+".Disconnect")
}

// TestOutage lets the network of proxies fail without a word. They are few: the daemon tells by the clock, 20 s here, who is
// dead, and on a busy machine may take so one that is not.
func TestOutage(t *testing.T) {
	t.Parallel()
	var all []cell
	of := map[string]bool{}
	for _, c := range slices.Backward(cells()) { // the newest of each kind, and the oldest
		kind := c.station.Name[strings.Index(c.station.Name, c.board.name):]
		if c.connects() && (!of[kind] || c.version == "2022.12") {
			all, of[kind] = append(all, c), true
		}
	}
	var stations []station
	var devices []proxysim.DeviceSpec
	for _, c := range all {
		stations, devices = append(stations, c.station), append(devices, c.device)
	}
	w := newWorld(t, stations, devices, "connect: {timeout: 6m, per_path: 5m}\n")
	together(t, all, func(c cell) string { return c.station.Name }, func(t *testing.T, c cell) { c.outage(t, w) })
}

func (c cell) outage(t *testing.T, w *world) {
	name, path := c.station.Name, devicePath(c.device)
	w.logs.dump(t, name, c.device.Address.String())
	b, proxy := w.connect(t), w.sim.Proxy(name)
	anyhow := func(error) bool { return true } // it may be lost once more
	b.until(limit, proxyPath(name), proxyIface, "State", "online")
	b.connected(path, anyhow)
	proxy.SetFault(proxysim.FaultHalfOpen)
	b.until(limit, path, deviceIface, "Connected", false)
	eventually(t, limit, "the log says that the proxy was lost because it was silent", func() bool {
		return len(w.logs.with("Lost the proxy", "proxy="+name+" ", "nothing was heard")) > 0
	})
	proxy.SetFault(proxysim.FaultNone)
	eventually(t, limit, "it can be read after the outage", func() bool {
		b.connected(path, anyhow)
		var v []byte
		call := b.try(operationTime, b.char(path, echo), charIface+".ReadValue", map[string]dbus.Variant{})
		return call.Err == nil && call.Store(&v) == nil && string(v) == "hello"
	})
}

// exchange reads, writes and is notified.
func (c cell) exchange(t *testing.T, w *world, b *client) {
	path := devicePath(c.device)
	chr := b.char(path, echo)
	if mtu := b.get(chr, charIface, "MTU"); mtu != uint16(247) {
		t.Errorf("MTU is %v", mtu)
	}
	if v := b.read(chr); v != "hello" {
		t.Errorf("read %q", v)
	}
	b.write(chr, "with", "request")
	if v := b.read(chr); v != "with" {
		t.Errorf("read %q after the write", v)
	}
	b.write(chr, "without", "command")
	if v := b.read(chr); v != "without" {
		t.Errorf("read %q after the write without response", v)
	}
	var value []byte
	if err := b.call(chr+"/desc0007", descIface+".ReadValue", map[string]dbus.Variant{}).Store(&value); err != nil || string(value) != "Echo" {
		t.Errorf("read %q from the descriptor: %v", value, err)
	}
	b.call(chr+"/desc0007", descIface+".WriteValue", []byte("Label"), map[string]dbus.Variant{})
	for _, n := range []struct {
		uuid     ble.UUID
		handle   uint16
		indicate bool
	}{{counter, counterHandle, false}, {event, eventHandle, true}} {
		chr := b.char(path, n.uuid)
		values := b.values(chr)
		b.subscribe(chr)
		if err := w.sim.Air().Notify(c.device.ID, n.handle, []byte("news"), n.indicate); err != nil {
			t.Fatal(err)
		}
		b.notified(values, "news")
		b.call(chr, charIface+".StopNotify")
	}
	eventually(t, limit, "the CCCDs are clear again", func() bool {
		s, err := w.sim.Air().Status(c.device.ID)
		return err == nil && len(s.Subscriptions) == 0
	})
}

// pair pairs, and ends that again.
func (c cell) pair(t *testing.T, w *world, b *client) {
	name, path := c.station.Name, devicePath(c.device)
	if !c.pairs() {
		b.refused(operationTime, "org.bluez.Error.NotSupported", path, deviceIface+".Pair")
		if len(w.logs.with(name, c.version, "pairing")) == 0 {
			t.Error("the log does not say why it could not pair")
		}
		b.until(limit, path, deviceIface, "Connected", false)
		b.link(path)
		return
	}
	b.call(path, deviceIface+".Pair")
	if v := b.get(path, deviceIface, "Paired"); v != true {
		t.Errorf("Paired is %v", v)
	}
	if v := b.read(b.char(path, secret)); v != "secret" {
		t.Errorf("read %q over the encrypted link", v)
	}
	b.call(adapterPath, adapterIface+".RemoveDevice", path)
	eventually(t, limit, "the proxy forgot the bond", func() bool { return !w.sim.Proxy(name).Bonded(c.device.Address) })
	if err := w.sim.Air().ForgetBonds(c.device.ID); err != nil {
		t.Error(err)
	}
	b.until(limit, path, deviceIface, "Paired", false) // it was found again
	b.link(path)
	if lines := w.logs.with("cannot unpair", name); len(lines) > 0 {
		t.Errorf("unpairing: %s", lines[0])
	}
}

// part ends the link from both sides and connects again at once.
func (c cell) part(t *testing.T, w *world, b *client) {
	path := devicePath(c.device)
	for range 2 {
		b.call(path, deviceIface+".Disconnect")
		if v := b.get(path, deviceIface, "Connected"); v != false {
			t.Errorf("Connected is %v after Disconnect", v)
		}
		b.link(path)
	}
	if err := w.sim.Air().Disconnect(c.device.ID, proxysim.ReasonRemote); err != nil {
		t.Fatal(err)
	}
	b.until(limit, path, deviceIface, "Connected", false)
	b.link(path)
	if v := b.read(b.char(path, echo)); v != "without" {
		t.Errorf("read %q after connecting again", v)
	}
}
