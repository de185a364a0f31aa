package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// patient makes a daemon as patient as the tests, so that none of its time-outs, which are tested in fake time, ends
// anything on a busy machine. waits is as long as that.
const (
	patient = "connect: {timeout: 6m, per_path: 5m, slot_wait: 6m}\nlink: {ping_after: 2m, dead_after: 6m}\n"
	waits   = 8 * time.Minute
)

const (
	adapter1, device1, characteristic1, proxy1 = "org.bluez.Adapter1", "org.bluez.Device1", "org.bluez.GattCharacteristic1", "org.bluez_esphome.Proxy1"
	hci0                                       = dbus.ObjectPath("/org/bluez/hci0")
)

// Devices of the demo, and what is read of them: secret needs an encrypted link.
const (
	pulse, thermo, lock, thermo2 = "C8:2B:96:10:00:01", "A4:C1:38:10:00:02", "E1:5D:0A:10:00:03", "A4:C1:38:10:00:12"
	greeting, secret             = "b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50", "10cc0003-37a1-4d2c-8f10-5b6a79881122"
)

// A side is one of the two daemons, with a program on its bus that discovers all the time.
type side struct {
	*harness.Client
	place  harness.Place
	config string
	bus    *harness.Bus
}

// start starts the daemon, with the state that an earlier run left.
func (s *side) start(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(s.place.Dir, "bluez-esphome")); err != nil { // a bus that was killed leaves its socket
		t.Error(err)
	}
	s.bus = s.place.Run(t, s.config)
	s.Client = s.bus.Client(t)
	s.Limit = waits
	s.Call(hci0, adapter1+".StartDiscovery")
}

func devicePath(address string) dbus.ObjectPath {
	return hci0 + dbus.ObjectPath("/dev_"+strings.ReplaceAll(address, ":", "_"))
}

func parse(t *testing.T, address string) ble.Address {
	t.Helper()
	a, err := ble.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// finds waits until the device is on the bus.
func (s *side) finds(address string) dbus.ObjectPath {
	s.T.Helper()
	s.Until(devicePath(address), device1, "Address", address)
	return devicePath(address)
}

// connects connects to a device, whose services are known then.
func (s *side) connects(address string) {
	s.T.Helper()
	s.Call(s.finds(address), device1+".Connect")
	s.Until(devicePath(address), device1, "ServicesResolved", true)
}

func (s *side) disconnects(address string) {
	s.T.Helper()
	s.Call(devicePath(address), device1+".Disconnect")
	s.Until(devicePath(address), device1, "Connected", false)
}

// refused wants Connect to fail for want of a slot.
func (s *side) refused(address string) {
	s.T.Helper()
	err := s.Try(s.finds(address), device1+".Connect").Err
	if err == nil || !strings.Contains(err.Error(), "le-connection-concurrent-connection-limit") {
		s.T.Errorf("without a free slot Connect says %v", err)
	}
}

// reads reads a characteristic of a device that is connected.
func (s *side) reads(address, uuid string) (value string, err error) {
	s.T.Helper()
	for path, ifaces := range s.Objects() {
		if c := ifaces[characteristic1]; strings.HasPrefix(string(path), string(devicePath(address))) && c["UUID"].Value() == uuid {
			var raw []byte
			err := s.Try(path, characteristic1+".ReadValue", map[string]dbus.Variant{}).Store(&raw)
			return string(raw), err
		}
	}
	s.T.Fatalf("%s has no characteristic %s", address, uuid)
	return "", nil
}

func (s *side) wants(address, uuid, want string) {
	s.T.Helper()
	if got, err := s.reads(address, uuid); got != want || err != nil {
		s.T.Errorf("of %s it reads %q, %v, want %q", address, got, err, want)
	}
}

// proxyIs waits until the proxy with that name has the value.
func (s *side) proxyIs(name, what string, want any) {
	s.T.Helper()
	s.Eventually(fmt.Sprintf("%s of the proxy %s is %v", what, name, want), func() bool { return property(s.Client, name, what) == want })
}

// chain is two daemons, of which b uses the proxies of a, hall and attic with a slot each, and one of its own.
type chain struct {
	sim        *proxysim.Simulation
	a, b       *side
	hall       string // the proxy of b by which it reaches hall
	attic      string
	slots      uint16 // of that
	waits      string // a device for whose slot b waits
	occupation string // a device by which a takes that slot
}

// hears sets who hears a device; dBm are in the order hall, attic, own, and 0 is not at all.
func (c *chain) hears(t *testing.T, id string, dBm ...int8) {
	t.Helper()
	for i, proxy := range []string{"hall", "attic", "own"} {
		if err := c.sim.Air().SetRSSI(id, proxy, dBm[i], dBm[i] != 0); err != nil {
			t.Fatal(err)
		}
	}
}

func newChain(t *testing.T, offer string) *chain {
	t.Helper()
	devices, err := proxysim.DemoPeripherals()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if d.ID == "thermo" {
			d.ID, d.Address = "thermo2", parse(t, thermo2)
			devices = append(devices, d)
		}
	}
	proxies := []proxysim.ProxySpec{
		{ProxyConfig: proxysim.ProxyConfig{Name: "hall", Slots: 1}, Listen: "127.0.0.1:0"},
		{ProxyConfig: proxysim.ProxyConfig{Name: "attic", Slots: 1}, Listen: "127.0.0.1:0"},
		{ProxyConfig: proxysim.ProxyConfig{Name: "own"}, Listen: "127.0.0.1:0"},
	}
	c := &chain{}
	c.sim, err = proxysim.New(proxysim.Options{Peripherals: devices, Proxies: proxies, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c.hears(t, "pulse", -50, 0, 0)
	c.hears(t, "thermo", -50, 0, 0)
	c.hears(t, "thermo2", 0, -50, 0)
	c.hears(t, "lock", 0, -50, 0)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- c.sim.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	at := func(name string) string { return c.sim.Addr(name).String() }
	port := harness.FreePort(t)
	c.a = &side{place: harness.NewPlace(t), config: fmt.Sprintf(`%s
proxies: [{name: hall, address: %q, on_no_slot: fail}, {name: attic, address: %q}]
share: {listen: 127.0.0.1, base_port: %d, offer: %s}
`, patient, at("hall"), at("attic"), port, offer)}
	c.b = &side{place: harness.NewPlace(t)}
	behind := fmt.Sprintf(`{name: a, address: "127.0.0.1:%d"}`, port)
	c.hall, c.attic, c.slots, c.waits, c.occupation = "a", "a", 2, thermo, pulse
	if offer == "each" {
		c.hall, c.attic, c.slots, c.waits, c.occupation = "a-hall", "a-attic", 1, thermo2, lock
		behind = fmt.Sprintf(`{name: a-hall, address: "127.0.0.1:%d", on_no_slot: fail}, {name: a-attic, address: "127.0.0.1:%d"}`, port, port+1)
	}
	c.b.config = fmt.Sprintf("%s\nproxies: [%s, {name: own, address: %q}]\n", patient, behind, at("own"))
	c.a.start(t)
	for _, name := range []string{"hall", "attic"} {
		c.a.proxyIs(name, "State", "online")
	}
	return c
}

// TestBehind: what a program may expect of proxies, it gets of those that another daemon shares, singly or as one: it
// sees and shares their slots and their links, pairs, and changes over to another one.
func TestBehind(t *testing.T) {
	t.Parallel()
	for _, offer := range []string{"each", "merged"} {
		t.Run(offer, func(t *testing.T) {
			t.Parallel()
			c := newChain(t, offer)
			c.a.connects(pulse) // so all of hall's slots are taken before b comes
			c.b.start(t)
			for _, name := range []string{c.hall, c.attic, "own"} {
				c.b.proxyIs(name, "State", "online")
			}
			c.shows(t)
			if offer == "each" {
				c.competes(t)
			}
			c.shares(t)
			c.waitsForSlot(t)
			c.pairs(t)
			c.changesOver(t)
		})
	}
}

// shows: status says through which daemon b reaches a proxy.
func (c *chain) shows(t *testing.T) {
	var r struct {
		Proxies []struct {
			Name, Note string
			Via        []string
		}
	}
	out, err := exec.Command(harness.Binary(), "status", "--json", "--bus", c.b.bus.Address).Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		t.Fatalf("status: %v\n%s", err, out)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Proxies {
		behind := p.Name != "own"
		if ok := len(p.Via) == 1 && strings.HasSuffix(p.Via[0], " "+host) && strings.Contains(p.Note, "through the daemon on "+host); ok != behind {
			t.Errorf("of %s it says via %q and %q", p.Name, p.Via, p.Note)
		}
	}
	text, err := exec.Command(harness.Binary(), "status", "--bus", c.b.bus.Address).CombinedOutput()
	if n := strings.Count(string(text), "through the daemon on "+host); err != nil || n != 1 { // one note for both
		t.Errorf("status: %v\n%s", err, text)
	}
}

// competes: programs of both want the last slot of hall. Who comes later is told so, and has it once it is free.
func (c *chain) competes(t *testing.T) {
	c.b.proxyIs(c.hall, "SlotFree", uint16(0))
	c.b.refused(thermo)
	c.a.disconnects(pulse)
	c.b.proxyIs(c.hall, "SlotFree", uint16(1))
	c.b.connects(thermo)
	c.a.proxyIs("hall", "SlotFree", uint16(0))
	c.a.refused(pulse)
	c.b.disconnects(thermo)
	c.a.proxyIs("hall", "SlotFree", uint16(1))
	c.a.connects(pulse)
}

// shares: a device that a has is b's too, without a further slot, though it does not advertise; it is connected as long as
// one of them wants it.
func (c *chain) shares(t *testing.T) {
	c.a.disconnects(pulse)
	path := c.b.finds(pulse) // and keeps it, however long it is silent
	c.b.Call(path, "org.freedesktop.DBus.Properties.Set", device1, "Trusted", dbus.MakeVariant(true))
	c.a.connects(pulse)
	c.b.proxyIs(c.hall, "SlotFree", c.slots-1)
	if st, err := c.sim.Air().Status("pulse"); err != nil || st.Advertising || c.sim.Proxy("hall").Slots().Free != 0 {
		t.Fatalf("a is not connected through hall: %+v, %v", st, err)
	}
	c.b.connects(pulse)
	c.b.wants(pulse, greeting, "hello")
	c.a.wants(pulse, greeting, "hello")
	c.a.disconnects(pulse)
	c.b.wants(pulse, greeting, "hello")
	c.b.proxyIs(c.hall, "SlotFree", c.slots-1)
	c.b.disconnects(pulse)
	c.b.proxyIs(c.hall, "SlotFree", c.slots)
	c.a.proxyIs("hall", "SlotFree", uint16(1))
}

// waitsForSlot: unless the configuration says otherwise a program of b waits for a slot that a program of a has.
func (c *chain) waitsForSlot(t *testing.T) {
	path := c.b.finds(c.waits)
	c.a.connects(c.occupation)
	c.b.proxyIs(c.attic, "SlotFree", c.slots-1)
	call := c.b.Conn.Object("org.bluez", path).Go(device1+".Connect", 0, make(chan *dbus.Call, 1))
	c.b.Until(hci0, adapter1, "Powered", true) // answered behind it
	select {
	case <-call.Done:
		t.Errorf("it does not wait: %v", call.Err)
	default:
	}
	c.a.disconnects(c.occupation)
	if err := (<-call.Done).Err; err != nil {
		t.Errorf("once a slot is free: %v", err)
	}
	c.b.disconnects(c.waits)
}

// pairs: a program of b pairs through a. The bond outlives both daemons, and ends when the device is removed from b.
func (c *chain) pairs(t *testing.T) {
	const want = "1234"
	path := c.b.finds(lock)
	closed := func(when string) {
		t.Helper()
		if value, err := c.b.reads(lock, secret); err == nil {
			t.Errorf("%s it reads %q", when, value)
		}
		c.b.Until(path, device1, "Connected", false) // there is no agent (docs/quirks.md)
	}
	c.b.connects(lock)
	closed("unpaired")
	c.b.Call(path, device1+".Pair")
	bonded := func(s *side, is bool) {
		t.Helper()
		s.Until(path, device1, "Paired", is)
		s.Until(path, device1, "Bonded", is)
	}
	bonded(c.b, true)
	c.b.wants(lock, secret, want)
	c.a.finds(lock)
	bonded(c.a, true) // a bond is the device's, whoever made it
	if !c.sim.Proxy("attic").Bonded(parse(t, lock)) {
		t.Error("the proxy has no bond")
	}

	c.b.bus.Daemon.Stop(t)
	c.b.start(t)
	bonded(c.b, true)
	c.b.proxyIs(c.attic, "State", "online")
	c.b.connects(lock)
	c.b.wants(lock, secret, want)

	c.a.bus.Daemon.Stop(t)
	c.b.Until(path, device1, "Connected", false)
	c.a.start(t)
	c.b.proxyIs(c.attic, "State", "online")
	bonded(c.b, true)
	c.b.connects(lock)
	c.b.wants(lock, secret, want)
	bonded(c.a, true)

	c.b.Call(hci0, adapter1+".RemoveDevice", path)
	c.a.Until(path, device1, "Paired", false)
	c.b.connects(lock)
	bonded(c.b, false)
	closed("removed")
	if c.sim.Proxy("attic").Bonded(parse(t, lock)) {
		t.Error("the proxy keeps the bond")
	}
}

// changesOver: when the proxy of a link is lost, its program is told and connects again through the other proxy of a; and
// when a itself is lost, through b's own.
func (c *chain) changesOver(t *testing.T) {
	for _, name := range []string{c.hall, c.attic} {
		c.b.proxyIs(name, "SlotFree", c.slots)
	}
	taken := func() []string {
		var out []string
		for _, p := range c.sim.Proxies() {
			if s := p.Slots(); slices.Contains(s.Allocated, parse(t, pulse)) {
				out = append(out, p.Name())
			}
		}
		return out
	}
	through := func(want string) {
		t.Helper()
		c.b.connects(pulse)
		c.b.wants(pulse, greeting, "hello")
		if got := taken(); !slices.Equal(got, []string{want}) {
			t.Errorf("it is connected through %q, want %s", got, want)
		}
	}
	path := c.b.finds(pulse)
	through("hall")
	c.hears(t, "pulse", -50, -60, 0)
	c.sim.Proxy("hall").Restart(time.Hour)
	c.b.Until(path, device1, "Connected", false)
	through("attic")
	c.hears(t, "pulse", -50, -60, -80)
	c.a.bus.Daemon.Kill(t)
	c.b.Until(path, device1, "Connected", false)
	through("own")
}
