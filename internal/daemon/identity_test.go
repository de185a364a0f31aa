package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/fleet"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/proxysim"
	"bluez-esphome/internal/store"
	"bluez-esphome/internal/task/tasktest"
	"bluez-esphome/tests/harness"
)

// TestRogueName (security report, R4): a device without a key that anybody announced calls itself like a proxy with a
// key, and is online first. It does not become the one that rules and bonds mean, before or after the real one is
// there.
func TestRogueName(t *testing.T) {
	if !harness.Isolated(t) {
		return
	}
	key := [apiwire.KeySize]byte{1}
	const rogueMAC, realMAC = 0x24_6F_28_AA_00_01, 0x24_6F_28_00_00_01
	_, rogue := proxy(t, proxysim.ProxyConfig{Name: "kitchen", MAC: rogueMAC}, "127.0.0.1:0")
	place := freePort(t)
	device := ble.Address(0xC8_2B_96_10_00_01)
	psk := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(psk, []byte(key64(key)), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("proxies:\n  - {address: %q, noise_psk_file: %q}\ndevices:\n  - {address: %q, pin: kitchen}\n  - {address: \"C8:2B:96:10:00:02\", pin: ghost}\nauto_add: {}\n", place, psk, device)
	h := begin(t, text)
	announce(t, rogue, "zz")
	found := func() *fleet.Proxy { return h.at(fmt.Sprintf("zz.local:%d", rogue.Port())) }
	h.eventually("the rogue is online", func() bool { return found() != nil && found().Online() })
	meant := func() string { return h.d.proxies.Rule(device).Pin }
	if id := meant(); id == found().ID() || id == "" {
		t.Errorf("the device is pinned to %q, the rogue is %q", id, found().ID())
	}
	// A name that no entry has means nobody, not whoever claims it.
	_, ghost := proxy(t, proxysim.ProxyConfig{Name: "ghost", MAC: rogueMAC + 1}, "127.0.0.1:0")
	announce(t, ghost, "ghost")
	h.eventually("the ghost is online", func() bool { return h.online(fmt.Sprintf("ghost.local:%d", ghost.Port())) })
	if g := h.at(fmt.Sprintf("ghost.local:%d", ghost.Port())); h.d.proxies.Rule(device+1).Pin == g.ID() || g.Name() == "ghost" {
		t.Errorf("a device is pinned to the ghost, or it is called %q", g.Name())
	}
	if n := found().Name(); n == "kitchen" {
		t.Errorf("the rogue is called %q", n)
	}
	proxy(t, proxysim.ProxyConfig{Name: "kitchen", MAC: realMAC, Access: proxysim.Access{PSK: &key}}, place)
	h.eventually("the real one is online", func() bool { return h.online(place) })
	if got := h.at(place); got.Name() != "kitchen" || meant() != ble.Address(realMAC).String() || got.ID() != meant() {
		t.Errorf("the real one is %q, ID %q; the device is pinned to %q", got.Name(), got.ID(), meant())
	}
	// A record from before IDs names the proxy with the key too.
	h.d.store.SetGatt(device, store.GattState{Bonded: "kitchen"})
	if r, _ := (gattStore{h.d.store, h.d.proxies.IDOf}).Load(device); r.Bonded != meant() {
		t.Errorf("the bond is %q's", r.Bonded)
	}
}

func key64(key [apiwire.KeySize]byte) string {
	s, err := config.ParseSecret("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	if err != nil || s.Key() != key {
		panic("another key")
	}
	return "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
}

// TestRogueClash: two devices claim one name, and neither is known. Both are used, each with a table, an object and
// rules of its own.
func TestRogueClash(t *testing.T) {
	_, one := proxy(t, proxysim.ProxyConfig{Name: "twin", MAC: 0x24_6F_28_00_00_01}, "127.0.0.1:0")
	_, two := proxy(t, proxysim.ProxyConfig{Name: "twin", MAC: 0x24_6F_28_00_00_02}, "127.0.0.1:0")
	h := begin(t, fmt.Sprintf("proxies:\n  - {address: %q, on_no_slot: fail}\n  - {address: %q, on_no_slot: wait}\n", one, two))
	h.eventually("both are online", func() bool { return h.online(one.String()) && h.online(two.String()) })
	a, b := h.at(one.String()), h.at(two.String())
	if a.ID() == b.ID() || a.Name() == b.Name() || h.d.board.Path(a.ID()) == h.d.board.Path(b.ID()) {
		t.Errorf("IDs %q, %q; names %q, %q", a.ID(), b.ID(), a.Name(), b.Name())
	}
	// What is configured of proxies without names is not mixed up (issue 16).
	if h.d.proxies.NoSlot(a.ID()) != gatt.NoSlotFail || h.d.proxies.NoSlot(b.ID()) != gatt.NoSlotWaitAll {
		t.Error("on_no_slot of proxies without names does not count")
	}
	h.eventually("each is heard for itself", func() bool {
		infos := h.d.table.Proxies()
		return len(infos) == 2 && infos[0].Adverts > 0 && infos[1].Adverts > 0
	})
}

// TestAliases (R5): forty names point to a proxy that is configured. It gets one session, ours.
func TestAliases(t *testing.T) {
	if !harness.Isolated(t) {
		return
	}
	sim, at := proxy(t, proxysim.ProxyConfig{Name: "kitchen"}, "127.0.0.1:0")
	h := begin(t, fmt.Sprintf("proxies:\n  - {address: %q}\nauto_add: {}\n", at))
	h.eventually("it is online", func() bool { return h.online(at.String()) })
	var most atomic.Int64
	tasktest.Background(t, func(ctx context.Context) error {
		for ctx.Err() == nil {
			most.Store(max(most.Load(), int64(sim.Clients())))
			select {
			case <-ctx.Done():
			case <-time.After(time.Millisecond):
			}
		}
		return nil
	})
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprintf("alias%d", i))
	}
	announce(t, at, names...)
	_, honest := proxy(t, proxysim.ProxyConfig{Name: "honest"}, "127.0.0.1:0")
	announce(t, honest, "honest") // after them: when it is used, they were heard
	h.eventually("an honest one is used", func() bool { return h.online(fmt.Sprintf("honest.local:%d", honest.Port())) })
	if n := len(h.d.proxies.All()); n != 2 || most.Load() > 1 {
		t.Errorf("proxies %q, up to %d sessions with the one that has aliases", h.list(), most.Load())
	}
}

// TestSameDevice: two entries that lead to one device are one session. The newer says which the other is, and takes
// over when that is removed.
func TestSameDevice(t *testing.T) {
	sim, at := proxy(t, proxysim.ProxyConfig{Name: "kitchen", MAC: 0x24_6F_28_00_00_01}, "127.0.0.1:0")
	byName := fmt.Sprintf("localhost:%d", at.Port())
	h := begin(t, fmt.Sprintf("proxies:\n  - {name: k, address: %q}\n", at))
	h.eventually("the first is online", func() bool { return h.online(at.String()) })
	h.d.Reload(h.config(fmt.Sprintf("proxies:\n  - {name: k, address: %q}\n  - {name: other, address: %q}\n", at, byName)))
	const want = `the same device as "k" (MAC 24:6F:28:00:00:01): remove one of the two entries`
	h.eventually("the second is refused", func() bool {
		p := h.at(byName)
		return p != nil && p.LastError() == want
	})
	h.eventually("there is one session", func() bool { return sim.Clients() == 1 && h.online(at.String()) })
	h.d.Reload(h.config(fmt.Sprintf("proxies:\n  - {name: other, address: %q}\n", byName)))
	h.eventually("the second takes over", func() bool { return h.online(byName) })
}

// TestSameDeviceAtOnce: the same for entries that come up at the same moment, as at the start. The one that is let in
// first is used, also if it takes a while until it is up.
func TestSameDeviceAtOnce(t *testing.T) {
	sim, at := proxy(t, proxysim.ProxyConfig{Name: "kitchen", MAC: 0x24_6F_28_00_00_01}, "127.0.0.1:0")
	hosts := []string{at.String(), fmt.Sprintf("localhost:%d", at.Port())}
	h := begin(t, fmt.Sprintf("proxies:\n  - {name: k, address: %q}\n  - {name: other, address: %q}\n", hosts[0], hosts[1]))
	refused := func(one, other string) bool {
		p := h.at(one)
		return p != nil && p.LastError() == fmt.Sprintf("the same device as %q (MAC 24:6F:28:00:00:01): remove one of the two entries", other)
	}
	h.eventually("one is online and the other refused", func() bool {
		return sim.Clients() == 1 && (h.online(hosts[0]) && refused(hosts[1], "k") || h.online(hosts[1]) && refused(hosts[0], "other"))
	})
}

// chameleon serves a proxy that has another MAC in each session, which it ends once it told it.
func chameleon(t *testing.T) (address string, sessions *atomic.Int32) {
	t.Helper()
	air, err := proxysim.NewAir(nil)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := proxysim.NewProxy(air, proxysim.ProxyConfig{Name: "chameleon"})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sessions = new(atomic.Int32)
	tasktest.Background(t, func(ctx context.Context) error {
		context.AfterFunc(ctx, func() { _ = ln.Close() })
		for {
			conn, err := ln.Accept()
			if err != nil {
				return nil
			}
			n := sessions.Add(1)
			go func() {
				ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
				_ = apiserver.Serve(ctx, conn, apiserver.Config{
					Device: func() apiserver.Device {
						return apiserver.Device{
							Name: "chameleon", MAC: ble.Address(0x24_6F_28_BB_00_00 + ble.Address(n)).String(), ESPHomeVersion: "2026.10.0", Features: ble.FeaturePassiveScan | ble.FeatureRawAdvertisements,
						}
					},
					APIMinor: 14, AuthOnHello: true, Log: slog.New(slog.DiscardHandler),
				}, backend)
			}()
		}
	})
	return ln.Addr().String(), sessions
}

// TestMACChanges (R11): a device that is taken over claims another MAC with each session. It gets one number of an
// adapter and one port.
func TestMACChanges(t *testing.T) {
	address, sessions := chameleon(t)
	h := begin(t, fmt.Sprintf("proxies:\n  - {name: c, address: %q}\nadapters: per-proxy\nshare: {listen: 127.0.0.1, base_port: %s}\n", address, strings.Split(freePort(t), ":")[1]))
	h.eventually("the second session is refused", func() bool {
		h.d.finder.Apply(h.d.config())
		h.at(address).Kick()
		return sessions.Load() >= 2 && strings.Contains(h.at(address).LastError(), "another device answers")
	})
	numbers, known := 0, 0
	h.d.store.ProxyAdapters(func(ble.Address, int, store.ProxyInfo) { numbers++ })
	h.d.store.Proxies(func(ble.Address, store.ProxyInfo) { known++ })
	if numbers != 1 || known != 1 {
		t.Errorf("%d numbers of adapters, %d proxies remembered after %d sessions", numbers, known, sessions.Load())
	}
	// After a restart it is what it says; the numbers move.
	h.end()
	h.run(fmt.Sprintf("proxies:\n  - {name: c, address: %q}\nadapters: per-proxy\n", address))
	before := sessions.Load()
	h.eventually("it is online again", func() bool { return h.at(address).MAC() != 0 && sessions.Load() > before })
	numbers, known = 0, 0
	h.d.store.ProxyAdapters(func(ble.Address, int, store.ProxyInfo) { numbers++ })
	h.d.store.Proxies(func(ble.Address, store.ProxyInfo) { known++ })
	if numbers != 1 || known != 1 {
		t.Errorf("%d numbers of adapters, %d proxies remembered after a restart", numbers, known)
	}
}

// TestMadeUpNames (R10): somebody announces 256 names that point to a service of somebody else. An honest proxy that
// comes afterwards is used all the same, and the victim sees few attempts.
func TestMadeUpNames(t *testing.T) {
	if !harness.Isolated(t) {
		return
	}
	victim, err := net.Listen("tcp", "127.0.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	var attempts atomic.Int32
	tasktest.Background(t, func(ctx context.Context) error {
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
	h := begin(t, "auto_add: {}\n")
	target := netip.MustParseAddrPort(victim.Addr().String())
	for i := range 4 {
		var names []string
		for j := range 64 {
			names = append(names, fmt.Sprintf("fake%d-%d", i, j))
		}
		announce(t, target, names...)
	}
	begun := time.Now()
	h.eventually("they are heard", func() bool { return len(h.d.proxies.All()) >= 128 })
	_, honest := proxy(t, proxysim.ProxyConfig{Name: "honest"}, "127.0.0.2:0")
	announce(t, honest, "honest")
	h.eventually("the honest one is used", func() bool { return h.online(fmt.Sprintf("honest.local:%d", honest.Port())) })
	took := time.Since(begun)
	// One and then ever fewer at a port; four a second at an address, whatever the port.
	if n := attempts.Load(); n > 2+int32(took/time.Second)*4 {
		t.Errorf("%d attempts at the victim in %v", n, took)
	}
	// One whose place another takes is there for another moment.
	h.eventually("there are no more than there may be", func() bool { return len(h.d.proxies.All()) <= 128+1 })
}

// TestNotOnLink (R10): what is not below .local, or is in another network, is not dialled, whoever announces it.
func TestNotOnLink(t *testing.T) {
	if !harness.Isolated(t) {
		return
	}
	h := begin(t, "auto_add: {}\n")
	announce(t, netip.MustParseAddrPort("192.0.2.1:6053"), "elsewhere")
	_, honest := proxy(t, proxysim.ProxyConfig{Name: "honest"}, "127.0.0.1:0")
	announce(t, honest, "honest")
	h.eventually("the honest one is used", func() bool { return h.online(fmt.Sprintf("honest.local:%d", honest.Port())) })
	if n := len(h.d.proxies.All()); n != 1 {
		t.Errorf("proxies %q", h.list())
	}
}

// TestReloadFromEmpty (issue 16): the documented way to install is to start with an empty list and to reload. Whatever
// is in the file then has the effect that it has at a start.
func TestReloadFromEmpty(t *testing.T) {
	if !harness.Isolated(t) {
		return
	}
	_, ip := proxy(t, proxysim.ProxyConfig{Name: "ip", MAC: 0x24_6F_28_00_00_01}, "127.0.0.1:0")
	_, host := proxy(t, proxysim.ProxyConfig{Name: "host", MAC: 0x24_6F_28_00_00_02}, "127.0.0.1:0")
	_, local := proxy(t, proxysim.ProxyConfig{Name: "named", MAC: 0x24_6F_28_00_00_03}, "127.0.0.1:0")
	_, found := proxy(t, proxysim.ProxyConfig{Name: "found", MAC: 0x24_6F_28_00_00_04}, "127.0.0.1:0")
	announce(t, local, "named")
	announce(t, found, "found")
	const port = 61500 // above those that the kernel gave to the proxies: what is announced there might be ours
	text := fmt.Sprintf("proxies:\n  - {name: one, address: %q}\n  - {address: \"localhost:%d\"}\n  - {address: \"named.local.:%d\"}\n"+
		"auto_add: {}\nadapters: per-proxy\nshare: {listen: 127.0.0.1, base_port: %d}\n", ip, host.Port(), local.Port(), port)
	world := func(h *home) string {
		var out []string
		for _, p := range h.d.proxies.All() {
			own := ""
			if o := p.OwnAdapter(); o != nil {
				own = fmt.Sprintf(" hci%d", o.Index)
			}
			out = append(out, p.Label()+" "+p.State().String()+own)
		}
		for _, s := range h.d.sharing.Status() {
			out = append(out, s.Name)
		}
		slices.Sort(out)
		return strings.Join(out, "\n")
	}
	h := begin(t, "proxies: []\n")
	h.d.Reload(h.config(text))
	complete := func() bool {
		w := world(h)
		return strings.Count(w, " online") == 4 && strings.Count(w, " hci") == 3 && strings.Count(w, "-shared") == 3
	}
	h.eventually("everything of the file is there after the reload", complete)
	reloaded := world(h)
	h.end()
	h.run(text)
	h.eventually("everything of the file is there after a start", complete)
	if started := world(h); started != reloaded {
		t.Errorf("after a reload:\n%s\nafter a start:\n%s", reloaded, started)
	}
	h.d.Reload(h.config("proxies: []\n"))
	h.eventually("nothing is left", func() bool { return len(h.d.proxies.All()) == 0 && h.d.sharing.Status() == nil })
}
