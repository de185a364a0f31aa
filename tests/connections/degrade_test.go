package connections

import (
	"encoding/json"
	"strings"
	"testing"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"

	"github.com/godbus/dbus/v5"
)

// allFeatures are the flags of current firmware.
const allFeatures = ble.Features(0xff)

// lacking is a world with one proxy that lacks some features and hears one sensor.
func lacking(t *testing.T, version string, missing ble.Features) (*world, proxysim.DeviceSpec, *proxysim.Proxy) {
	t.Helper()
	t.Parallel()
	d := sensor(0, "north")
	if err := json.Unmarshal([]byte(`{"manufacturer_data": {"65535": "0102"}}`), &d.Advert); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, setup{devices: []proxysim.DeviceSpec{d}, proxies: []proxysim.ProxyConfig{{
		Name: "north", Version: version, Features: allFeatures &^ missing,
	}}})
	return w, d, w.sim.Proxy("north")
}

// fails makes a call that has to fail with that error, whose text has to contain parts.
func (w *world) fails(path dbus.ObjectPath, method, name string, parts []string, args ...any) {
	w.t.Helper()
	call := w.Try(path, method, args...)
	err, ok := call.Err.(dbus.Error)
	if !ok {
		w.t.Fatalf("%s: %v, want %s", method, call.Err, name)
	}
	text := err.Error()
	if err.Name != name {
		w.t.Errorf("%s failed with %s (%s), want %s", method, err.Name, text, name)
	}
	for _, p := range parts {
		if !strings.Contains(text, p) {
			w.t.Errorf("%s: %q does not mention %q", method, text, p)
		}
	}
}

// The rows of what happens without a feature, one after another.

func TestWithoutActiveConnections(t *testing.T) {
	w, d, north := lacking(t, "2026.10.0", ble.FeatureActiveConnections)
	w.fails(devicePath(d), deviceIface+".Connect", "org.bluez.Error.Failed", []string{"north", "2026.10.0", "does not make connections"})
	if w.Get(devicePath(d), deviceIface, "Name") != "Sensor" {
		t.Error("discovery does not work")
	}
	if n := len(north.Slots().Allocated); n > 0 {
		t.Errorf("%d slots are taken", n)
	}
}

func TestWithoutRawAdvertisements(t *testing.T) {
	// later firmware is always raw
	w, d, _ := lacking(t, "2025.5.0", ble.FeatureRawAdvertisements|ble.FeatureConnectionParams)
	path := devicePath(d)
	data, ok := w.Get(path, deviceIface, "ManufacturerData").(map[uint16]dbus.Variant)
	if !ok || string(data[0xffff].Value().([]byte)) != "\x01\x02" {
		t.Errorf("ManufacturerData %v", data)
	}
	if name := w.Get(path, deviceIface, "Name"); name != "Sensor" {
		t.Errorf("Name %v", name)
	}
	w.link(path)
}

func TestWithoutStateAndMode(t *testing.T) {
	w, d, _ := lacking(t, "2026.10.0", ble.FeatureStateAndMode)
	proxy := dbus.ObjectPath("/bluez_esphome/proxy/north")
	if mode := w.Get(proxy, "org.bluez_esphome.Proxy1", "ScanMode"); mode != "unknown" && mode != "" {
		t.Errorf("ScanMode %v, which nobody can know", mode)
	}
	if state := w.Get(proxy, "org.bluez_esphome.Proxy1", "State"); state != "online" {
		t.Errorf("State %v", state)
	}
	w.link(devicePath(d))
}

func TestWithoutRemoteCaching(t *testing.T) {
	w, d, _ := lacking(t, "2026.10.0", ble.FeatureRemoteCaching)
	w.fails(devicePath(d), deviceIface+".Connect", "org.bluez.Error.Failed", []string{"north", "does not make connections"})
}

func TestWithoutPairing(t *testing.T) {
	w, d, _ := lacking(t, "2026.10.0", ble.FeaturePairing)
	path := devicePath(d)
	w.link(path)
	w.fails(path, deviceIface+".Pair", "org.bluez.Error.NotSupported", []string{"north", "2026.10.0"})
	if w.Get(path, deviceIface, "Paired") != false {
		t.Error("paired")
	}
	w.Call(adapterPath, adapterIface+".RemoveDevice", path)
}

func TestWithoutCacheClearing(t *testing.T) {
	w, d, north := lacking(t, "2026.10.0", ble.FeatureCacheClearing)
	path := devicePath(d)
	w.link(path)
	for range 2 {
		var cleared bool
		if err := w.Call(path, extensionIface+".ClearCache").Store(&cleared); err != nil || !cleared {
			t.Errorf("cleared %v, %v", cleared, err)
		}
	}
	if n := north.Cleared(d.Address); n != 0 {
		t.Errorf("the proxy was asked %d times", n)
	}
	if n := w.logs.count("level=WARN", "only the one here was cleared", "north", "2026.10.0"); n != 1 {
		t.Errorf("%d warnings, want one", n)
	}
}

func TestWithoutConnectionParams(t *testing.T) {
	w, d, north := lacking(t, "2025.11.0", ble.FeatureConnectionParams)
	path := devicePath(d)
	w.link(path)
	w.Call(path, extensionIface+".SetConnectionParams", uint16(6), uint16(12), uint16(0), uint16(400))
	if _, asked := north.ConnectionParams(d.Address); asked {
		t.Error("the proxy was asked")
	}
	if n := w.logs.count("level=WARN", "connection parameters is not available", "north", "2025.11.0"); n != 1 {
		t.Errorf("%d warnings, want one", n)
	}
}

func TestWithoutPassiveScan(t *testing.T) {
	w, d, _ := lacking(t, "2026.10.0", ble.FeaturePassiveScan)
	w.link(devicePath(d))
}

// TestExtensions: with all features both extensions reach the proxy, and what is out of range does not.
func TestExtensions(t *testing.T) {
	w, d, north := lacking(t, "2026.10.0", 0)
	path := devicePath(d)
	set := extensionIface + ".SetConnectionParams"
	w.fails(path, set, "org.bluez.Error.NotConnected", nil, uint16(6), uint16(12), uint16(0), uint16(400))
	w.link(path)
	for _, bad := range [][4]uint16{{5, 12, 0, 400}, {12, 6, 0, 400}, {6, 3201, 0, 3200}, {6, 12, 500, 3200}, {6, 12, 0, 9}, {6, 12, 0, 3201}, {6, 400, 9, 1000}} {
		w.fails(path, set, "org.bluez.Error.InvalidArguments", nil, bad[0], bad[1], bad[2], bad[3])
	}
	w.Call(path, set, uint16(6), uint16(12), uint16(3), uint16(400))
	if got, _ := north.ConnectionParams(d.Address); got != (ble.ConnectionParams{MinInterval: 6, MaxInterval: 12, Latency: 3, Timeout: 400}) {
		t.Errorf("asked for %+v", got)
	}
	var cleared bool
	// the first time before the services were listed
	if err := w.Call(path, extensionIface+".ClearCache").Store(&cleared); err != nil || !cleared || north.Cleared(d.Address) != 2 {
		t.Errorf("cleared %v, %v, at the proxy %d times", cleared, err, north.Cleared(d.Address))
	}
	// A proxy that is offline cannot clear its cache now; it does so before its next connection.
	north.PowerOff()
	north.DropClients()
	eventually(t, "the proxy is offline", func() bool {
		return w.Get("/bluez_esphome/proxy/north", "org.bluez_esphome.Proxy1", "State") != "online"
	})
	if err := w.Call(path, extensionIface+".ClearCache").Store(&cleared); err != nil || cleared {
		t.Errorf("cleared %v, %v, at a proxy that is offline", cleared, err)
	}
	north.SetFault(proxysim.FaultNone)
	north.Restart(0)
	eventually(t, "the proxy is online", func() bool {
		return w.Get("/bluez_esphome/proxy/north", "org.bluez_esphome.Proxy1", "State") == "online"
	})
	w.link(path)
	if n := north.Cleared(d.Address); n != 3 {
		t.Errorf("cleared %d times at the proxy, want 3", n)
	}
}
