package firmware

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"

	"github.com/godbus/dbus/v5"
)

// host is another API client of a proxy, such as Home Assistant.
type host struct {
	yields bool // it does not take the proxy back

	*apiconn.Proxy
	adverts atomic.Int32
	down    atomic.Int32 // links that ended
}

func (h *host) Online(*apiconn.Proxy, apiconn.Info) {}

func (h *host) Offline(*apiconn.Proxy, error) {}

func (h *host) Adverts(_ *apiconn.Proxy, _ time.Time, a []ble.RawAdvert) {
	h.adverts.Add(int32(len(a)))
}

func (h *host) ScannerState(*apiconn.Proxy, ble.ScannerState, ble.ScannerMode, ble.ScannerMode) {}

func (h *host) Slots(*apiconn.Proxy, ble.Slots) {}

func (h *host) LinkUp(*apiconn.Proxy, ble.Address, int) {}

func (h *host) LinkDown(*apiconn.Proxy, ble.Address, int32) { h.down.Add(1) }

func (h *host) Notification(*apiconn.Proxy, ble.Address, uint16, []byte) {}

func (h *host) PairingChanged(*apiconn.Proxy, ble.Address, bool, int32) {}

// arrive makes h subscribe at a proxy, and connect to a device unless that is 0.
func (h *host) arrive(t testing.TB, address string, a ble.Address) {
	t.Helper()
	var err error
	policy := apiconn.Retake
	if h.yields {
		policy = apiconn.Yield
	}
	h.Proxy, err = apiconn.New(apiconn.Config{Address: address, Handler: h, OnConflict: policy, PingAfter: time.Minute, DeadAfter: limit})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Stop)
	eventually(t, limit, "the other host hears something", func() bool { return h.adverts.Load() > 0 })
	if a != 0 {
		if _, err := h.Connect(t.Context(), a, ble.Public, false); err != nil {
			t.Fatal(err)
		}
	}
}

// A company is a proxy that is not ours alone, or not at all, or has too little.
type company struct {
	name    string
	proxy   proxysim.ProxyConfig
	entry   string
	other   *host // there before us
	links   bool  // and connected to the first device
	devices int
	device  func(d *proxysim.DeviceSpec)
	down    func(r *relay, f frame) []frame
	play    func(t *testing.T, s *scene, c company, devices []dbus.ObjectPath)
}

// displaced waits until the proxy is shown as another host's, and for one line about it in the log.
func displaced(within time.Duration) func(t *testing.T, s *scene, c company, devices []dbus.ObjectPath) {
	return func(t *testing.T, s *scene, c company, devices []dbus.ObjectPath) {
		s.until(within, s.status, proxyIface, "State", "displaced")
		why, _ := s.get(s.status, proxyIface, "LastError").(string)
		if !strings.Contains(why, "Home Assistant") || !strings.Contains(why, "remove the proxy there") {
			t.Errorf("LastError is %q, which does not say what to do", why)
		}
		if lines := s.w.logs.with("level=WARN", "proxy="+c.proxy.Name+" ", "Home Assistant"); len(lines) != 1 {
			t.Errorf("%d lines in the log, want one: %q", len(lines), lines)
		}
		n := c.other.adverts.Load()
		eventually(t, limit, "the other host still hears something", func() bool { return c.other.adverts.Load() > n })
		if c.other.down.Load() > 0 {
			t.Error("the other host lost its link")
		}
		if c.devices > 1 { // what only this proxy hears, if anything did, cannot be reached
			call := s.try(connectTime, devices[1], deviceIface+".Connect")
			if call.Err == nil {
				t.Error("connected through another host's proxy")
			}
		}
	}
}

func companies() []company {
	return []company{
		{name: "another host, which has a link", proxy: proxysim.ProxyConfig{}, other: &host{}, links: true, devices: 2, play: displaced(limit)},
		{name: "another host, which has a link, 2024.10", proxy: proxysim.ProxyConfig{Version: "2024.10.0"}, other: &host{}, links: true, devices: 2, play: displaced(limit)},
		{name: "another host, 2024.10", proxy: proxysim.ProxyConfig{Version: "2024.10.0"}, other: &host{}, devices: 1, play: displaced(limit)},
		{name: "another host, 2026.3", proxy: proxysim.ProxyConfig{Version: "2026.3.0"}, other: &host{}, devices: 1, play: displaced(limit)},
		{name: "another host, 2026.10", other: &host{}, devices: 1, play: displaced(limit)},
		{name: "another host, 2026.10, from which it is taken", other: &host{yields: true}, devices: 1, play: func(t *testing.T, s *scene, c company, devices []dbus.ObjectPath) {
			displaced(limit)(t, s, c, devices)
			if call := s.try(limit, s.status, proxyIface+".Take"); call.Err != nil {
				t.Fatal(call.Err)
			}
			s.online()
			s.until(limit, devices[0], deviceIface, "Name", "Sensor Übung")
		}},
		{name: "another host, which loses it", proxy: proxysim.ProxyConfig{Version: "2026.7.4"}, other: &host{yields: true}, devices: 1, play: func(t *testing.T, s *scene, c company, devices []dbus.ObjectPath) {
			s.online()
			s.until(limit, devices[0], deviceIface, "Name", "Sensor Übung")
			s.link(devices[0])
			eventually(t, limit, "the log says that another host may have lost the proxy", func() bool {
				return len(s.w.logs.with("level=WARN", "do not tell whether another host", c.proxy.Name)) == 1
			})
			if note, _ := s.get(s.status, proxyIface, "Note").(string); !strings.Contains(note, "Home Assistant") {
				t.Errorf("Note is %q, state %v", note, s.get(s.status, proxyIface, "State"))
			}
		}},
		{name: "another host, from which the proxy is retaken", proxy: proxysim.ProxyConfig{Slots: 1}, entry: ", on_conflict: retake", other: &host{yields: true}, links: true, devices: 2,
			play: func(t *testing.T, s *scene, c company, devices []dbus.ObjectPath) {
				s.online()
				s.until(limit, devices[1], deviceIface, "Name", "Sensor Übung")
				s.link(devices[1])
			}},
		{name: "one slot", proxy: proxysim.ProxyConfig{Slots: 1}, devices: 2, play: func(t *testing.T, s *scene, c company, devices []dbus.ObjectPath) {
			for _, d := range devices {
				s.until(limit, d, deviceIface, "Name", "Sensor Übung")
			}
			s.link(devices[0])
			if text := s.refused(connectTime, "org.bluez.Error.Failed", devices[1], deviceIface+".Connect"); !strings.Contains(text, "connection slot") {
				t.Errorf("the error is %q", text)
			}
			s.call(devices[0], deviceIface+".Disconnect")
			s.link(devices[1])
		}},
		{name: "nine slots", proxy: proxysim.ProxyConfig{Slots: 9}, devices: 9, play: func(t *testing.T, s *scene, c company, devices []dbus.ObjectPath) {
			var wg sync.WaitGroup
			for _, d := range devices {
				s.until(limit, d, deviceIface, "Name", "Sensor Übung")
				wg.Go(func() {
					if call := s.try(connectTime, d, deviceIface+".Connect"); call.Err != nil {
						t.Errorf("%s: %v", d, call.Err)
					}
				})
			}
			wg.Wait()
			for _, d := range devices {
				s.until(limit, d, deviceIface, "ServicesResolved", true)
			}
			if v := s.get(s.status, proxyIface, "SlotFree"); v != uint16(0) {
				t.Errorf("SlotFree is %v", v)
			}
		}},
		{name: "no proxy at all", proxy: proxysim.ProxyConfig{Version: "2026.1.0"}, devices: 1, down: info(func(m *apipb.DeviceInfoResponse) { m.BluetoothProxyFeatureFlags = 0 }),
			play: func(t *testing.T, s *scene, c company, _ []dbus.ObjectPath) {
				s.online()
				eventually(t, limit, "the log says so", func() bool {
					return len(s.w.logs.with("level=WARN", "proxy="+c.proxy.Name+" ", "bluetooth_proxy:")) == 1
				})
			}},
		{name: "a wrong key", proxy: proxysim.ProxyConfig{Access: proxysim.Access{PSK: &[32]byte{1}}}, entry: `, noise_psk: "AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`, play: refused("key")},
		{name: "a key for a device that has none yet", proxy: proxysim.ProxyConfig{Access: proxysim.Access{Unprovisioned: true}}, entry: `, noise_psk: "AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`, play: refused("key")},
		{name: "no key", proxy: proxysim.ProxyConfig{Access: proxysim.Access{PSK: &[32]byte{1}}}, play: refused("noise_psk")},
		{name: "a wrong password", proxy: proxysim.ProxyConfig{Version: "2025.2.0", Access: proxysim.Access{Password: "sesame"}}, entry: ", password: simsim", play: refused("password")},
		failing("le-connection-timeout", 0x08), failing("le-connection-timeout", 0x22), failing("le-connection-timeout", 0x3e),
		failing("le-connection-refused", 0x01), failing("le-connection-refused", 0x13), failing("le-connection-refused", 0x85),
		failing("le-connection-refused", 0x100), failing("le-connection-unknown", 0x101), failing("le-connection-unknown", -5),
	}
}

// refused is a proxy that does not let us in.
func refused(remedy string) func(t *testing.T, s *scene, c company, _ []dbus.ObjectPath) {
	return func(t *testing.T, s *scene, c company, _ []dbus.ObjectPath) {
		s.until(limit, s.status, proxyIface, "State", "auth-failed")
		warnings := func() []string { return s.w.logs.with("level=WARN", "proxy="+c.proxy.Name+" ", remedy) }
		eventually(t, limit, "the log says what to do", func() bool { return len(warnings()) > 0 }) // behind the state
		if lines := warnings(); len(lines) != 1 {
			t.Errorf("%d lines in the log, want one with %q: %q", len(lines), remedy, s.w.logs.with("proxy="+c.proxy.Name+" "))
		}
	}
}

// failing is a proxy whose attempts to connect fail with a code.
func failing(text string, code int32) company {
	return company{name: fmt.Sprintf("attempts that fail with %#x", code), devices: 1,
		device: func(d *proxysim.DeviceSpec) {
			for name := range d.RSSI {
				d.ConnectError = map[string]int32{name: code}
			}
		},
		play: func(t *testing.T, s *scene, c company, devices []dbus.ObjectPath) {
			s.until(limit, devices[0], deviceIface, "Name", "Sensor Übung")
			if got := s.refused(connectTime, "org.bluez.Error.Failed", devices[0], deviceIface+".Connect"); got != text {
				t.Errorf("the error is %q, want %q", got, text)
			}
			if v := s.get(devices[0], deviceIface, "Connected"); v != false {
				t.Errorf("Connected is %v", v)
			}
		}}
}

// TestCompany plays proxies in use by other hosts, and such that refuse, all at once in one daemon.
func TestCompany(t *testing.T) {
	t.Parallel()
	all := companies()
	var stations []station
	var specs []proxysim.DeviceSpec
	paths := map[string][]dbus.ObjectPath{}
	for i := range all {
		c := &all[i]
		c.proxy.Name = fmt.Sprintf("company%d", i)
		st := station{ProxyConfig: c.proxy, entry: c.entry}
		if c.down != nil {
			st.through = &relay{down: c.down}
		}
		var first ble.Address
		for n := range c.devices {
			d := peripheral(1000+100*i+n, c.proxy.Name)
			d.ID = fmt.Sprintf("%s-%d", d.ID, n)
			if c.device != nil {
				c.device(&d)
			}
			if n == 0 && c.links {
				first = d.Address
			}
			specs, paths[c.name] = append(specs, d), append(paths[c.name], devicePath(d))
		}
		if c.other != nil {
			st.before = func(address string) { c.other.arrive(t, address, first) }
		}
		stations = append(stations, st)
	}
	w := newWorld(t, stations, specs, patient)
	together(t, all, func(c company) string { return c.name }, func(t *testing.T, c company) {
		w.logs.dump(t, "proxy="+c.proxy.Name+" ")
		c.play(t, &scene{client: w.connect(t), w: w, proxy: w.sim.Proxy(c.proxy.Name), status: proxyPath(c.proxy.Name)}, c, paths[c.name])
	})
}
