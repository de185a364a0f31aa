package status

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

func TestAddress(t *testing.T) {
	const system = "unix:path=/var/run/dbus/system_bus_socket"
	for _, c := range []struct{ name, flag, env, want string }{
		{"nothing", "", "", system},
		{"environment", "", "unix:path=/e", "unix:path=/e"},
		{"flag beats environment", "unix:path=/f", "unix:path=/e", "unix:path=/f"},
		{"system beats environment", "system", "unix:path=/e", system},
		{"private even if it is not there", "private", "unix:path=/e", "unix:path=/nowhere/bluez-esphome/bus"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("RUNTIME_DIRECTORY", "")
			t.Setenv("XDG_RUNTIME_DIR", "/nowhere")
			t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", c.env)
			if got := Address(c.flag); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// A private bus counts if it answers: its socket may outlive it.
func TestAddressOfPrivateBus(t *testing.T) {
	dir, err := os.MkdirTemp("", "st") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	t.Setenv("RUNTIME_DIRECTORY", dir)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "")
	path := filepath.Join(dir, "bus")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if got := Address(""); got != "unix:path="+path {
		t.Errorf("%q while it answers", got)
	}
	l.Close()
	if got := Address(""); got == "unix:path="+path {
		t.Error("a socket that nobody serves was taken")
	}
	if got := Address("private"); got != "unix:path="+path {
		t.Errorf("%q for private", got)
	}
}

func TestAskNobody(t *testing.T) {
	_, err := Ask(t.Context(), "unix:path=/nonexistent")
	if err == nil || !strings.Contains(err.Error(), "is the daemon running?") {
		t.Errorf("%v", err)
	}
}

func variant(v any) dbus.Variant { return dbus.MakeVariant(v) }

func TestDeviceOf(t *testing.T) {
	rssi := int16(-60)
	got := deviceOf(map[string]dbus.Variant{
		"Address": variant("AA:BB:CC:DD:EE:FF"), "Alias": variant("x"), "RSSI": variant(rssi), "Connected": variant(true),
		"Adapter": variant(dbus.ObjectPath("/org/bluez/hci0")), "Paired": variant("not a boolean"),
	}, map[string]dbus.Variant{"Sources": variant([]map[string]dbus.Variant{
		{"Proxy": variant(dbus.ObjectPath("/p/k")), "RSSI": variant(rssi), "LastHeard": variant(uint64(7)), "Owner": variant(true)},
		{"Proxy": variant(dbus.ObjectPath("/p/unknown"))},
	})}, map[dbus.ObjectPath]string{"/p/k": "kitchen"})
	want := Device{
		Address: "AA:BB:CC:DD:EE:FF", Alias: "x", Adapter: "hci0", RSSI: &rssi, Connected: true,
		Sources: []Source{{Proxy: "kitchen", RSSI: -60, LastHeard: 7, Owner: true}, {Proxy: "/p/unknown"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPrint(t *testing.T) {
	now := time.Unix(1000, 0)
	all := ble.Features(0xff).Names()
	rssi := int16(-50)
	r := &Report{
		Proxies: []Proxy{
			{Name: "full", Host: "h:1", State: "online", ESPHomeVersion: "2026.10.0", Features: all, ScanMode: "active", SlotLimit: 3, SlotFree: 2, LastHeard: 998},
			{Name: "deaf", Host: "h:2", State: "auth-failed", LastError: "wrong key"},
			{Name: "listener", Host: "h:3", State: "online", Features: ble.FeaturePassiveScan.Names()},
			{Name: "old", Host: "h:4", State: "online", Features: ble.Features(0x3f).Names()},
		},
		Adapters: []Adapter{{Name: "hci0", Devices: 9, MaxDevices: 100}, {Name: "hci1", Proxy: "full", Devices: 100, MaxDevices: 100, Dropped: 7}},
		Devices:  []Device{{Address: "AA:BB:CC:DD:EE:FF", Alias: "x", Adapter: "hci0", RSSI: &rssi, Connected: true, Sources: []Source{{Proxy: "full", RSSI: -50, LastHeard: 999, Owner: true}}}},
	}
	var proxies, devices, none strings.Builder
	r.PrintProxies(&proxies, now)
	r.PrintDevices(&devices, now)
	(&Report{}).PrintProxies(&none, now)
	(&Report{}).PrintDevices(&none, now)
	for _, c := range []struct{ in, want string }{
		{proxies.String(), "2 of 3 free  2s"},
		{proxies.String(), "\nhci1: the table of devices is full (max_devices: 100); 7 made room for others since the start\n"},
		{proxies.String(), "auth-failed  -          -       -            never  wrong key"},
		{proxies.String(), "no connections"},
		{proxies.String(), "scan mode unknown and fixed; no connection parameters"},
		{proxies.String(), "1 devices on the bus, 1 connected"},
		{devices.String(), "connected  full* -50 1s"},
		{none.String(), "no proxies are configured"},
		{none.String(), "no devices are on the bus"},
	} {
		if !strings.Contains(c.in, c.want) {
			t.Errorf("%q is not in\n%s", c.want, c.in)
		}
	}
	if strings.Contains(proxies.String(), "no connections; ") {
		t.Error("a proxy without connections lists what needs them")
	}
}
