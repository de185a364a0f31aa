package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"

	"github.com/google/go-cmp/cmp"
)

func TestMissing(t *testing.T) {
	for _, c := range []struct {
		name     string
		features ble.Features
		want     []string // the beginnings of what is disabled
	}{
		{"none is missing", 0xff, nil},
		{"2024.10", 0x3f, []string{"its scan mode", "SetConnectionParams"}},
		{"2024.10 passive", 0x21, []string{"passive only: no connections", "its scan mode"}},
		{"2022.12", 0x07, []string{"no pairing", "ClearCache", "adverts are decoded by the proxy", "its scan mode", "SetConnectionParams"}},
		{"older", 0x03, []string{"no connections", "no pairing", "ClearCache", "adverts", "its scan mode", "SetConnectionParams"}},
		{"no proxy", 0, []string{"this is no Bluetooth proxy"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ble.Lacking(c.features.Names())
			if len(got) != len(c.want) {
				t.Fatalf("%+v, want %q", got, c.want)
			}
			for i, m := range got {
				if !strings.HasPrefix(m.Disables, c.want[i]) {
					t.Errorf("%+v, want %q", m, c.want[i])
				}
			}
		})
	}
}

func sample() *Report {
	all := ble.Features(0xff).Names()
	proxy := func(p Proxy) Proxy {
		if p.ESPHomeVersion != "" {
			p.Missing = ble.Lacking(p.Features)
		}
		return p
	}
	rssi := int16(-50)
	return &Report{
		Proxies: []Proxy{
			proxy(Proxy{Name: "full", Host: "h:1", State: "online", ESPHomeVersion: "2026.10.0", Features: all, ScanMode: "active", SlotLimit: 3, SlotFree: 1, LastHeard: 998,
				Links: []Link{{"AA:BB:CC:DD:EE:FF", "x", "connected", 700, []string{"D-Bus", "Home Assistant 2026.10"}}, {Address: "AA:BB:CC:DD:EE:00", State: "foreign", Owners: []string{"another host"}}}}),
			{Name: "locked", Host: "h:2", State: "auth-failed", LastError: "cannot connect to h:2: the key is wrong: copy the value of api: encryption: key: from its ESPHome configuration", NextAttempt: 1027, Bonds: []string{"AA:BB:CC:DD:EE:11"}},
			proxy(Proxy{Name: "listener", Host: "h:3", State: "online", ESPHomeVersion: "2026.10.0", Features: ble.Features(0x61).Names(), Note: "mind the gap"}),
			proxy(Proxy{Name: "old-proxy-with-a-name-that-is-long", Host: "h:4", State: "online", ESPHomeVersion: "2024.10.0-dev20241001", ScanMode: "passive", SlotLimit: 3, SlotFree: 9, LastHeard: 1, Features: ble.Features(0x3f).Names()}),
		},
		Adapters: []Adapter{{Name: "hci0", Devices: 9, MaxDevices: 100}, {Name: "hci1", Proxy: "full", Devices: 100, MaxDevices: 100, Dropped: 7}},
		Devices:  []Device{{Address: "AA:BB:CC:DD:EE:11", Alias: "lock", Adapter: "hci0", Paired: true}, {Address: "AA:BB:CC:DD:EE:FF", Name: "x", Alias: "x", Adapter: "hci0", RSSI: &rssi, Connected: true, Sources: []Source{{Proxy: "full", RSSI: -50, LastHeard: 999, Owner: true}}}},
	}
}

const wantOverview = `PROXY                     STATE        ESPHOME        SCAN     SLOTS     HEARD
full                      online       2026.10.0      active   2/3 used  2s
locked                    auth-failed  -              -        -         -
listener                  online       2026.10.0      -        -         -
old-proxy-with-a-name-t…  online       2024.10.0-de…  passive  0/3 used  16m

DEVICE             NAME  PROXY  STATE      SINCE  BY
AA:BB:CC:DD:EE:FF  x     full   connected  5m     D-Bus, Home A…
AA:BB:CC:DD:EE:00  -     full   foreign    -      another host

locked: cannot connect to h:2: the key is wrong: copy the value of api:
  encryption: key: from its ESPHome configuration
locked: it holds the bond with AA:BB:CC:DD:EE:11: what needs encryption is
  refused through other proxies until it is back
listener: no ACTIVE_CONNECTIONS: passive only: no connections through it
  (bluetooth_proxy: active: true enables them)
old-proxy-with-a-name-that-is-long: no FEATURE_STATE_AND_MODE,
  CONNECTION_PARAMS_SETTING; bluez-esphome status
  old-proxy-with-a-name-that-is-long says what that disables
locked: next attempt in 27 s; a reload (systemctl reload bluez-esphome, or
  SIGHUP) tries now
note on listener: mind the gap
9 devices heard, 2 on the bus, 1 connected
`

const wantDetails = `full
  state      online
  address    h:1
  firmware   ESPHome 2026.10.0
  scan mode  active
  heard      2s ago
  slots      2 of 3 used
  links      AA:BB:CC:DD:EE:FF x, connected for 5m, by D-Bus, Home Assistant
             2026.10
             AA:BB:CC:DD:EE:00, foreign, by another host
  features   PASSIVE_SCAN, ACTIVE_CONNECTIONS, REMOTE_CACHING, PAIRING,
             CACHE_CLEARING, RAW_ADVERTISEMENTS, FEATURE_STATE_AND_MODE,
             CONNECTION_PARAMS_SETTING
`

func TestPrint(t *testing.T) {
	now, r := time.Unix(1000, 0), sample()
	var overview, details, all, devices, none strings.Builder
	r.PrintProxies(&overview, now)
	for line := range strings.Lines(overview.String()) {
		if n := len([]rune(line)) - 1; n > width {
			t.Errorf("%d characters: %s", n, line)
		}
	}
	got, full, _ := strings.Cut(overview.String(), "hci1: ")
	if diff := cmp.Diff(wantOverview, got); diff != "" {
		t.Error(diff)
	}
	if want := "the table of devices is full (max_devices: 100); 7 made room for others\n  since the start\n"; full != want {
		t.Errorf("%q", full)
	}
	if !r.PrintProxy(&details, now, "full") {
		t.Error("the proxy is not found")
	}
	if diff := cmp.Diff(wantDetails, details.String()); diff != "" {
		t.Error(diff)
	}
	if r.PrintProxy(&details, now, "nobody") || !r.PrintProxy(&all, now, "") {
		t.Error("a proxy is found that is not there, or none at all")
	}
	r.PrintDevices(&devices, now, DevicesView{})
	(&Report{}).PrintProxies(&none, now)
	(&Report{}).PrintDevices(&none, now, DevicesView{})
	for _, c := range []struct{ in, want string }{
		{all.String(), "  lacks      ACTIVE_CONNECTIONS: passive only"},
		{all.String(), "  note       mind the gap\n"},
		{all.String(), "\n\nlocked\n  state      auth-failed\n  error      cannot connect"},
		{all.String(), "\n\n9 devices heard, 2 on the bus, 1 connected\n"},
		{all.String(), "  next       next attempt in 27 s"},
		{all.String(), "  bonds      AA:BB:CC:DD:EE:11\n"},
		{devices.String(), "paired at locked"},
		{devices.String(), "full* -50 1s"},
		{none.String(), "no proxies: list them"},
		{none.String(), "no device is heard"},
	} {
		if !strings.Contains(c.in, c.want) {
			t.Errorf("%q is not in\n%s", c.want, c.in)
		}
	}
}

// Text from the air and from proxies does not make rows of its own.
func TestPrintHostile(t *testing.T) {
	r := &Report{
		Proxies: []Proxy{{Name: "p\nonline\tx", State: "online", Links: []Link{{Address: "A", Name: "n\n\tz", Owners: []string{"h\nost"}}}}},
		Devices: []Device{{Alias: "a\n\tb"}},
	}
	var b strings.Builder
	r.PrintProxies(&b, time.Unix(0, 0))
	r.PrintDevices(&b, time.Unix(0, 0), DevicesView{})
	if n := strings.Count(b.String(), "\n"); n != 9 {
		t.Errorf("%d lines:\n%s", n, b.String())
	}
}

// The longest names and numbers that are usual stay within a terminal's width, and Home Assistant's name within its
// column.
func TestPrintWide(t *testing.T) {
	long := strings.Repeat("n", 60)
	r := &Report{
		Proxies: []Proxy{{Name: long, State: "auth-failed", ESPHomeVersion: long, ScanMode: "passive", SlotLimit: 64, SlotFree: 0,
			Links: []Link{
				{"AA:BB:CC:DD:EE:FF", long, "connecting", 1, []string{long, long}},
				{"AA:BB:CC:DD:EE:FE", long, "connected", 1, []string{"Home Assistant"}},
			}}},
		Shared: []Shared{{Name: long, Hosts: []Host{{Name: "Home Assistant 2026.10.1", Address: "[fe80::1234:5678:9abc:def0]:1", Batches: 9999999, Dropped: 9999, Since: 1}}}},
	}
	var b strings.Builder
	r.PrintProxies(&b, time.Unix(100*24*3600, 0))
	for line := range strings.Lines(b.String()) {
		if n := len([]rune(line)) - 1; n > width && len(strings.Fields(line)) > 1 {
			t.Errorf("%d characters: %s", n, line)
		}
	}
	for _, want := range []string{" Home Assistant\n", " Home Assistan… "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

// TestEqualFailures: thirteen proxies that fail alike are four lines, not sixty, whatever their addresses and whenever
// they are tried next.
func TestEqualFailures(t *testing.T) {
	r := &Report{}
	for i := range 13 {
		host := fmt.Sprintf("10.0.0.%d:6053", i)
		r.Proxies = append(r.Proxies, Proxy{Name: fmt.Sprintf("room-%02d", i), Host: host, State: "offline", NextAttempt: Moment(1010 + i),
			LastError: "cannot connect to " + host + ": connection refused; check that the device is powered"})
	}
	var b strings.Builder
	r.printRemarks(&b, time.Unix(1000, 0))
	want := `all 13 proxies: cannot connect to their addresses: connection refused; check
  that the device is powered
all 13 proxies: next attempt in 10 to 22 s; a reload (systemctl reload
  bluez-esphome, or SIGHUP) tries now
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	for i := range 5 {
		r.Proxies[i].State, r.Proxies[i].LastError = "online", ""
	}
	r.Proxies[12].LastError = strings.ReplaceAll(r.Proxies[12].LastError, "refused", "reset")
	b.Reset()
	r.printRemarks(&b, time.Unix(1000, 0))
	if first, _, _ := strings.Cut(b.String(), "\n"); !strings.HasPrefix(first, "room-05, room-06, room-07, room-08, room-09, and 2 more: cannot") {
		t.Errorf("%s", b.String())
	}
	if !strings.Contains(b.String(), "room-12: cannot connect to 10.0.0.12:6053: connection reset") {
		t.Errorf("%s", b.String())
	}
	if _, line := r.Check(); line != "WARNING: 5 of 13 proxies online; room-05, room-06, room-07, room-08, room-09, and 3 more: offline" {
		t.Error(line)
	}
}

// TestNextAttempt: where nothing tells whether the other host has gone, a reload changes nothing. A name that is not
// resolved has no port.
func TestNextAttempt(t *testing.T) {
	taken := func(name, version string) Proxy {
		return Proxy{Name: name, Host: name + ":6053", State: "displaced", ESPHomeVersion: version, NextAttempt: 1000 + 29*60, Features: []string{"ACTIVE_CONNECTIONS"}}
	}
	passive := taken("d", "2026.10.0")
	passive.Features = []string{"PASSIVE_SCAN"}
	lost := Proxy{Name: "lost", Host: "lost.local:6053", State: "offline", LastError: "cannot resolve lost.local: no such host; check the name"}
	r := &Report{Proxies: []Proxy{taken("a", "2026.7.4"), taken("b", "2026.10.0"), taken("c", "2026.7.0"), passive, lost}}
	var b strings.Builder
	r.printRemarks(&b, time.Unix(1000, 0))
	r.Proxies[0].print(&b, time.Unix(1000, 0))
	want := `lost: cannot resolve lost.local: no such host; check the name
b: next attempt in 29 min; a reload (systemctl reload bluez-esphome, or SIGHUP)
  tries now
a, c, d: next attempt in 29 min; bluez-esphome take NAME tries now, and takes it
  also from a host that is still there
a
  state      displaced
  next       next attempt in 29 min; bluez-esphome take a tries now, and takes
             it also from a host that is still there
  address    a:6053
  firmware   ESPHome 2026.7.4
  scan mode  unknown
  heard      never
  features   ACTIVE_CONNECTIONS
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
