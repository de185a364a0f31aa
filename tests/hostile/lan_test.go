package hostile

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/finder"
	"bluez-esphome/internal/mdns"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/tests/harness"

	"google.golang.org/protobuf/proto"
)

// Addresses of the network that a LAN test has for itself.
const (
	realHost   = "10.77.0.2"
	honestHost = "10.77.0.3"
	rogueHost  = "10.77.0.66"
)

// lan runs the rest of a test where multicast DNS reaches nobody else: in a network namespace with one interface, that
// has the addresses of the real proxy, of an honest new one, and of the attacker.
func lan(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make network interfaces (run it as root)")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("there is no ip(8) (apt install iproute2)")
	}
	if !harness.Isolated(t) {
		return false
	}
	for _, args := range []string{
		"link add be0 type veth peer name be1", "link set be0 up", "link set be1 up",
		"addr add " + realHost + "/24 dev be0", "addr add " + honestHost + "/24 dev be0", "addr add " + rogueHost + "/24 dev be0",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	return true
}

// announce points names to a place, as anybody on the LAN can.
func (w *world) announce(host string, port int, names ...string) {
	w.t.Helper()
	var list []mdns.Announced
	for _, name := range names {
		list = append(list, mdns.Announced{Service: finder.Service, Instance: name, Port: uint16(port), Addrs: []netip.Addr{netip.MustParseAddr(host)}})
	}
	w.background(mdns.NewResponder(list, mdns.NamedInterfaces("be0"), slog.New(slog.DiscardHandler)).Run)
}

// simulate runs one more proxy, which hears the good devices as well, with what it is and where it listens.
func simulate(t testing.TB, cfg proxysim.ProxyConfig, listen string) (*proxysim.Proxy, *net.TCPAddr) {
	t.Helper()
	var devices []proxysim.DeviceSpec
	for n := 1; n <= 2; n++ {
		d := device(n)
		d.RSSI = map[string]int8{cfg.Name: -20}
		devices = append(devices, d)
	}
	sim, err := proxysim.New(proxysim.Options{
		Peripherals: devices, Log: slog.New(slog.DiscardHandler), Proxies: []proxysim.ProxySpec{{ProxyConfig: cfg, Listen: listen}},
	})
	if err != nil {
		t.Fatal(err)
	}
	(&world{t: t}).background(sim.Run)
	return sim.Proxy(cfg.Name), sim.Addr(cfg.Name).(*net.TCPAddr)
}

// proxies gives the proxies that the daemon shows, by name: state and host.
func (c *client) proxies() map[string]string {
	c.T.Helper()
	out := map[string]string{}
	for _, ifaces := range c.Objects() {
		if p, ok := ifaces["org.bluez_esphome.Proxy1"]; ok {
			out[p["Name"].Value().(string)] = p["State"].Value().(string)
		}
	}
	return out
}

func (c *client) online(name string) func() bool {
	return func() bool { return c.proxies()[name] == "online" }
}

// TestRogueTakesNoName (R4): a device without a key that anybody announced calls itself like the proxy that a rule
// means, hears the device best and is online first. The device that is pinned to that name is never connected to
// through it, and is once the real proxy is there.
func TestRogueTakesNoName(t *testing.T) {
	if !lan(t) {
		return
	}
	key := [apiwire.KeySize]byte{1}
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), 0o600); err != nil {
		t.Fatal(err)
	}
	rogue, at := simulate(t, proxysim.ProxyConfig{Name: "kitchen", MAC: 0x246F28AA0001}, rogueHost+":0")
	place := fmt.Sprintf("%s:%d", realHost, harness.FreePort(t))
	w := newWorld(t, fmt.Sprintf("  - {address: %q, noise_psk_file: %q}\n", place, keyFile),
		fmt.Sprintf("devices: [{address: %q, pin: kitchen}]\nauto_add: {}\n", device(1).Address))
	c := w.client()
	c.Call(adapterPath, adapterIface+".StartDiscovery")
	w.announce(rogueHost, at.Port, "zz", "kitchen-2", "KITCHEN")
	c.Eventually("the rogue is used, under another name", func() bool {
		for name, state := range c.proxies() {
			if state == "online" && name != "good" {
				if strings.EqualFold(name, "kitchen") {
					t.Fatalf("the rogue is %q", name)
				}
				return true
			}
		}
		return false
	})
	c.Eventually("the device is heard", func() bool { return c.Get(goodPath, deviceIface, "Address") != nil })
	if err := c.Try(goodPath, deviceIface+".Connect").Err; err == nil {
		t.Error("the device is pinned to a proxy that is not there, and was connected to")
	}
	if n := len(rogue.Slots().Allocated); n != 0 {
		t.Error("the pinned device was connected to through the rogue")
	}
	real, _ := simulate(t, proxysim.ProxyConfig{Name: "kitchen", MAC: 0x246F28000001, Access: proxysim.Access{PSK: &key}}, place)
	c.Eventually("the real one is online under its name", c.online("kitchen"))
	c.link(goodPath)
	if len(real.Slots().Allocated) != 1 || len(rogue.Slots().Allocated) != 0 {
		t.Errorf("the real proxy has %d links, the rogue %d", len(real.Slots().Allocated), len(rogue.Slots().Allocated))
	}
}

// TestAliasesTakeNothing (R5): forty names point to the proxy that others use. It has one session, ours, all the time;
// the link through it and its notifications go on, and an honest new proxy is used.
func TestAliasesTakeNothing(t *testing.T) {
	if !lan(t) {
		return
	}
	w := newWorld(t, "", "auto_add: {}\n")
	c := w.client()
	c.Call(adapterPath, adapterIface+".StartDiscovery")
	c.link(goodPath)
	heard := w.counted()
	good := w.sim.Proxy("good")
	var most atomic.Int64
	w.background(func(ctx context.Context) error {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				most.Store(max(most.Load(), int64(good.Clients())))
			}
		}
	})
	// The proxy listens on loopback, where other hosts of the LAN cannot reach it; a second proxy can be reached by
	// everybody.
	second, at := simulate(t, proxysim.ProxyConfig{Name: "second"}, realHost+":0")
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprintf("alias%d", i))
	}
	w.announce(realHost, at.Port, names...)
	w.announce("127.0.0.1", w.sim.Addr("good").(*net.TCPAddr).Port, "more", "and-more")
	c.Eventually("one alias is used", func() bool { return second.Clients() > 0 })
	_, honest := simulate(t, proxysim.ProxyConfig{Name: "honest"}, honestHost+":0")
	w.announce(honestHost, honest.Port, "honest") // announced last: when it is used, the others have been heard
	c.Eventually("an honest one is used", c.online("honest"))
	before := heard()
	c.Eventually("notifications go on", func() bool { return heard() > before+50 })
	sessions := 0
	for _, state := range c.proxies() {
		if state == "online" {
			sessions++
		}
	}
	t.Logf("%d proxies are online; %d sessions at most with the one that is used, %d with the one of the aliases", sessions, most.Load(), second.Clients())
	if most.Load() != 1 || second.Clients() != 1 || sessions != 3 {
		t.Errorf("proxies %v", c.proxies())
	}
}

// TestMadeUpNamesFloodNobody (R10): 256 made-up names, that point to somebody's service. It sees few attempts, and an
// honest proxy that is announced after them is used.
func TestMadeUpNamesFloodNobody(t *testing.T) {
	if !lan(t) {
		return
	}
	victim, err := net.Listen("tcp", rogueHost+":0")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "", "auto_add: {}\n")
	var attempts atomic.Int32
	w.background(func(ctx context.Context) error {
		context.AfterFunc(ctx, func() { _ = victim.Close() })
		for {
			conn, err := victim.Accept()
			if err != nil {
				return nil
			}
			attempts.Add(1)
			_ = conn.Close()
		}
	})
	c := w.client()
	begun := time.Now()
	for i := range 4 {
		var names []string
		for j := range 64 {
			names = append(names, fmt.Sprintf("fake%d-%d", i, j))
		}
		w.announce(rogueHost, victim.Addr().(*net.TCPAddr).Port, names...)
	}
	c.Eventually("they are heard", func() bool { return len(c.proxies()) >= 100 })
	_, honest := simulate(t, proxysim.ProxyConfig{Name: "honest"}, honestHost+":0")
	w.announce(honestHost, honest.Port, "honest")
	c.Eventually("the honest one is used", c.online("honest"))
	took := time.Since(begun)
	t.Logf("%d attempts at the victim in %v", attempts.Load(), took.Round(time.Millisecond))
	if n := attempts.Load(); n == 0 || n > 2+int32(took/time.Second)*4 { // 100 a second before
		t.Errorf("%d attempts at the victim in %v", n, took)
	}
}

// TestMACsTakeNoNumbers (R11): proxies that are taken over claim another MAC with each session. Each has one number of
// an adapter, so that the others keep theirs, and the state does not grow.
func TestMACsTakeNoNumbers(t *testing.T) {
	t.Parallel()
	const rogues = 4
	sessions := harness.ByNight[uint64](2, 4) // there is a pause before each, that grows
	var evils []*evil
	yaml := ""
	for i := range rogues {
		n := new(atomic.Uint64)
		e := listen(t, plan{name: fmt.Sprint("rogue", i), change: func(m proto.Message) proto.Message {
			if m, ok := m.(*apipb.DeviceInfoResponse); ok {
				m.MacAddress = (ble.Address(0x246F28BB0000+i<<8) + ble.Address(n.Add(1))).String()
			}
			return m
		}, attack: func(s *session) { _ = s.conn.Close() }})
		evils = append(evils, e)
		yaml += fmt.Sprintf("  - {name: rogue%d, address: %q}\n", i, e.addr)
	}
	w := newWorld(t, yaml, fmt.Sprintf("adapters: per-proxy\nshare: {listen: 127.0.0.1, base_port: %d}\n", harness.FreePort(t)))
	c := w.client()
	c.Eventually("each had some sessions", func() bool {
		for _, e := range evils {
			if e.conns.Load() < sessions {
				return false
			}
		}
		return true
	})
	c.Eventually("the good one is online", c.online("good"))
	adapters := func() (n int) {
		for path, ifaces := range c.Objects() {
			if _, ok := ifaces[adapterIface]; ok && path != adapterPath {
				n++
			}
		}
		return n
	}
	c.Eventually("the good one has an adapter", func() bool { return adapters() > 0 })
	if n := adapters(); n > rogues+1 {
		t.Errorf("%d proxies have %d adapters after %d sessions each", rogues+1, n, sessions)
	}
	state, err := os.ReadFile(filepath.Join(w.place.Dir, "state", "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(strings.ToUpper(string(state)), "24:6F:28:BB:"); n > 2*rogues {
		t.Errorf("the state names %d MACs of %d proxies", n, rogues)
	}
}
