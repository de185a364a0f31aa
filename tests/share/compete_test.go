package share

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/internal/status"

	"github.com/godbus/dbus/v5"
)

// program is a program on D-Bus.
type program struct {
	t    *testing.T
	conn *dbus.Conn
}

func (w *world) program(t *testing.T) *program {
	t.Helper()
	conn, err := dbus.Connect(w.bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &program{t, conn}
}

func (p *program) call(path dbus.ObjectPath, method string) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), limit)
	defer cancel()
	return p.conn.Object("org.bluez", path).CallWithContext(ctx, method, 0).Err
}

// adapter calls a method of hci0.
func (p *program) adapter(method string) {
	p.t.Helper()
	if err := p.call("/org/bluez/hci0", "org.bluez.Adapter1."+method); err != nil {
		p.t.Fatal(err)
	}
}

// find discovers until a device is there, and gives its path.
func (p *program) find(address string) dbus.ObjectPath {
	p.t.Helper()
	path := dbus.ObjectPath("/org/bluez/hci0/dev_" + strings.ReplaceAll(address, ":", "_"))
	p.adapter("StartDiscovery")
	eventually(p.t, address+" is on the bus", func() bool {
		_, err := p.conn.Object("org.bluez", path).GetProperty("org.bluez.Device1.Address")
		return err == nil
	})
	p.adapter("StopDiscovery")
	return path
}

func parse(t *testing.T, address string) ble.Address {
	t.Helper()
	a, err := ble.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// oneSlot is a world whose proxy has one slot, which the first of three hosts takes.
func oneSlot(t *testing.T, entry string) (w *world, hosts []*remote) {
	t.Helper()
	w = newWorldOf(t, setup{more: "connect: {timeout: 4m, slot_wait: 4m}", entry: entry, proxy: func(c *proxysim.ProxyConfig) { c.Slots = 1 }}, "hall")
	for _, n := range []string{"first", "second", "third"} {
		h := w.connected(t, w.port, key, n)
		h.do("slots", nil)
		h.slots(1, 1)
		hosts = append(hosts, h)
	}
	hosts[0].connect(pulse, random)
	for _, h := range hosts {
		h.slots(0, 1, pulse)
	}
	return w, hosts
}

// TestNoSlot: a host that wants a slot while none is free gets an error at once, as at the device itself, and disturbs
// nobody.
func TestNoSlot(t *testing.T) {
	t.Parallel()
	_, hosts := oneSlot(t, "")
	hosts[1].do("connect", fields{"address": lock, "type": random})
	hosts[1].want(fields{"ev": "link", "address": lock, "up": false, "error": 0})
	if got := hosts[0].read(pulse, greeting); got != "68656c6c6f" {
		t.Errorf("the first host reads %s", got)
	}
}

// TestLastSlot: where the configuration says that hosts wait, they get the last slot in the order in which they asked.
// Each sees the slots as the device tells them.
func TestLastSlot(t *testing.T) {
	t.Parallel()
	w, hosts := oneSlot(t, ", on_no_slot: wait")
	first, second, third := hosts[0], hosts[1], hosts[2]
	second.do("connect", fields{"address": lock, "type": random})
	second.settle()
	third.do("connect", fields{"address": thermo, "type": public})
	third.settle()
	first.do("disconnect", fields{"address": pulse})
	first.want(fields{"ev": "link", "address": pulse, "up": false})
	second.want(fields{"ev": "link", "address": lock, "up": true})
	second.slots(0, 1, lock)
	second.do("disconnect", fields{"address": lock})
	third.want(fields{"ev": "link", "address": thermo, "up": true})
	for _, h := range hosts {
		h.slots(0, 1, thermo)
	}

	// What status shows of it.
	r, err := status.Ask(t.Context(), w.bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Shared) != 1 || len(r.Shared[0].Hosts) != 3 || r.Shared[0].Name != "hall-shared" || r.Shared[0].Proxy != "hall" || !r.Shared[0].Encrypted {
		t.Fatalf("status: %+v", r.Shared)
	}
	for i, h := range r.Shared[0].Hosts {
		links := strings.Join(h.Links, " ")
		if h.Name != hosts[i].name || !strings.HasPrefix(h.Address, "127.0.0.1:") || h.Since == 0 || links != []string{"", "", thermo}[i] {
			t.Errorf("status of host %d: %+v", i, h)
		}
	}
	if len(r.Proxies) != 1 || r.Proxies[0].Note != "" { // the daemon has asked this firmware, which said that it had no host
		t.Errorf("there is a note: %+v", r.Proxies)
	}
}

// TestDropWhileConnecting: a host that dies while its attempt is under way gives its slot back, and takes nobody's link
// with it.
func TestDropWhileConnecting(t *testing.T) {
	t.Parallel()
	// Nothing but the host's end ends the attempt.
	w := newWorldOf(t, setup{more: "connect: {timeout: 10m, per_path: 10m}", proxy: func(c *proxysim.ProxyConfig) {
		c.Slots, c.EstablishTimeout = 2, time.Hour
	}}, "hall")
	real := w.sim.Proxy("hall")
	stays, dies := w.connected(t, w.port, key, "stays"), w.connected(t, w.port, key, "dies")
	stays.do("slots", nil)
	stays.slots(2, 2)
	stays.connect(pulse, random)
	stays.slots(1, 2, pulse)
	stays.do("notify", fields{"address": pulse, "uuid": counter})
	stays.want(fields{"ev": "subscribed"})
	dies.do("connect", fields{"address": lock, "type": public}) // though it has none
	eventually(t, "the attempt has its slot", func() bool { return real.Slots().Free == 0 })
	stays.slots(0, 2, pulse, lock) // a device shows an attempt in this way
	dies.kill()
	stays.slots(1, 2, pulse)
	eventually(t, "the slot is free", func() bool { s := real.Slots(); return s.Free == 1 && s.Allocated[0] == parse(t, pulse) })
	stays.want(fields{"ev": "value"})
	stays.want(fields{"ev": "value"})
	stays.connect(lock, random) // nothing of the attempt is left
}

// TestRefuse: if links are not shared, the second party is refused, whether a host or a program on D-Bus, until the
// first one leaves.
func TestRefuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ", in_use: refuse", "hall")
	bus, first, second := w.program(t), w.connected(t, w.port, key, "first"), w.connected(t, w.port, key, "second")
	path := bus.find(pulse)
	first.connect(pulse, random)
	second.do("connect", fields{"address": pulse, "type": random})
	second.want(fields{"ev": "link", "address": pulse, "up": false, "error": 0x85})
	err := bus.call(path, "org.bluez.Device1.Connect")
	if err == nil || !strings.Contains(err.Error(), "le-connection-refused") {
		t.Errorf("on D-Bus: %v", err)
	}
	if got := first.read(pulse, greeting); got != "68656c6c6f" {
		t.Errorf("the first host reads %s", got)
	}
	first.kill()
	eventually(t, "a program on D-Bus gets it", func() bool { return bus.call(path, "org.bluez.Device1.Connect") == nil })
	second.do("connect", fields{"address": pulse, "type": random})
	second.want(fields{"ev": "link", "address": pulse, "up": false, "error": 0x85})
	if err := bus.call(path, "org.bluez.Device1.Disconnect"); err != nil {
		t.Fatal(err)
	}
	second.connect(pulse, random)
}

// TestKeys: a client without the key of the shared proxy gets no session, and the key of the real proxy does not help
// it.
func TestKeys(t *testing.T) {
	t.Parallel()
	var real [32]byte
	copy(real[:], "the key of the real proxy, secret")
	realKey := base64.StdEncoding.EncodeToString(real[:])
	wrong := base64.StdEncoding.EncodeToString([]byte("a key of nobody's, 32 bytes long"))
	w := newWorldOf(t, setup{proxy: func(c *proxysim.ProxyConfig) { c.PSK = &real }}, "hall")
	plain := newWorldOf(t, setup{plain: true}, "hall")
	for _, c := range []struct {
		what string
		w    *world
		key  string
		want fields
	}{
		{"its key", w, key, fields{"ev": "up", "name": "hall-shared"}},
		{"the real proxy's key", w, realKey, fields{"ev": "refused", "error": "InvalidEncryptionKeyAPIError"}},
		{"a wrong key", w, wrong, fields{"ev": "refused", "error": "InvalidEncryptionKeyAPIError"}},
		{"no key", w, "", fields{"ev": "refused", "error": "RequiresEncryptionAPIError"}},
		{"no key, where there is none", plain, "", fields{"ev": "up", "name": "hall-shared"}},
		{"a key, where there is none", plain, key, fields{"ev": "refused", "error": "EncryptionPlaintextAPIError"}},
	} {
		got := c.w.host(t, c.w.port, c.key, "client").want(fields{})
		if !got.has(c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// TestModes: the proxy scans actively while any host, or a program on D-Bus, wants that.
func TestModes(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, setup{proxy: func(c *proxysim.ProxyConfig) { c.ScanPassive = true }}, "hall")
	real := w.sim.Proxy("hall")
	scans := func(what string, mode ble.ScannerMode) {
		t.Helper()
		eventually(t, what, func() bool { return real.ScanMode() == mode })
	}
	bus, one, two := w.program(t), w.connected(t, w.port, key, "one"), w.connected(t, w.port, key, "two")
	for _, h := range []*remote{one, two} {
		h.do("listen", nil)
		h.want(fields{"ev": "scanner", "mode": "PASSIVE", "state": "RUNNING"})
	}
	one.do("mode", fields{"mode": "active"})
	scans("the first host has it scan actively", ble.ScanActive)
	two.want(fields{"ev": "scanner", "mode": "ACTIVE", "state": "RUNNING"})
	two.do("mode", fields{"mode": "active"})
	two.want(fields{"ev": "done", "do": "mode"})
	bus.adapter("StartDiscovery")
	one.do("mode", fields{"mode": "passive"})
	one.want(fields{"ev": "done", "do": "mode"})
	two.kill()
	eventually(t, "the second host is gone", func() bool {
		return strings.Contains(w.logs.String(), `msg="A host left the shared proxy" proxy=hall host=two`)
	})
	for range 20 { // D-Bus still wants it
		if real.ScanMode() != ble.ScanActive {
			t.Fatal("a host that leaves takes active scanning from a program on D-Bus")
		}
		<-time.After(5 * time.Millisecond)
	}
	bus.adapter("StopDiscovery")
	scans("nobody wants active scanning any more", ble.ScanPassive)
	one.want(fields{"ev": "scanner", "mode": "PASSIVE", "state": "RUNNING"})
}

// TestModeFlood: a host that changes its mind all the time does not make the real proxy restart its scanner each time.
func TestModeFlood(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, setup{proxy: func(c *proxysim.ProxyConfig) { c.ScanPassive = true }}, "hall")
	h := w.connected(t, w.port, key, "fickle")
	h.do("listen", nil)
	h.want(fields{"ev": "scanner", "mode": "PASSIVE", "state": "RUNNING"})
	h.take()
	began := time.Now()
	for range 200 {
		h.do("mode", fields{"mode": "active"})
		h.do("mode", fields{"mode": "passive"})
	}
	h.do("mode", fields{"mode": "active"})
	eventually(t, "the last wish counts", func() bool { return w.sim.Proxy("hall").ScanMode() == ble.ScanActive })
	h.do("adverts", fields{"address": pulse}) // this is answered after everything else
	h.want(fields{"ev": "adverts"})
	changes, mode := 0, "PASSIVE"
	for _, e := range h.take() {
		if m, ok := e["mode"].(string); ok && e["ev"] == "scanner" && m != mode {
			changes, mode = changes+1, m
		}
	}
	if most := 2 + int(time.Since(began)/(250*time.Millisecond)); changes > most {
		t.Errorf("the scanner changed its mode %d times in %v", changes, time.Since(began))
	}
	t.Logf("%d changes", changes)
}
