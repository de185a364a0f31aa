package connections

import (
	"testing"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/proxysim"

	"github.com/godbus/dbus/v5"
)

// TestPairing: the bond is the proxy's that made it, is remembered over a restart and removed with the device.
func TestPairing(t *testing.T) {
	t.Parallel()
	d := sensor(0, "near", "far")
	d.GATT.Services[1].Characteristics[0].Security = "encryption"
	w := newWorld(t, setup{devices: []proxysim.DeviceSpec{d}, proxies: []proxysim.ProxyConfig{{Name: "near"}, {Name: "far"}}})
	air, path := w.sim.Air(), devicePath(d)
	if err := air.SetRSSI(d.ID, "near", 0, false); err != nil {
		t.Fatal(err)
	}
	w.link(path)
	if h := w.holder(d); h != "far" {
		t.Fatalf("linked through %q", h)
	}
	w.Call(path, deviceIface+".Pair")
	for _, name := range []string{"Paired", "Bonded"} {
		if v := w.Get(path, deviceIface, name); v != true {
			t.Errorf("%s %v", name, v)
		}
	}
	w.fails(path, deviceIface+".Pair", "org.bluez.Error.AlreadyExists", nil)
	if !w.sim.Proxy("far").Bonded(d.Address) {
		t.Error("the proxy holds no bond")
	}
	w.Call(path, deviceIface+".Disconnect")
	if err := air.SetRSSI(d.ID, "near", -30, true); err != nil {
		t.Fatal(err)
	}
	w.heard(d)
	w.link(path)
	if h := w.holder(d); h != "far" {
		t.Errorf("a bonded device is linked through %q, not through the proxy with the bond", h)
	}
	var value []byte
	if err := w.Call(w.char(path, echo), charIface+".ReadValue", map[string]dbus.Variant{}).Store(&value); err != nil || string(value) != "hello" {
		t.Errorf("read %q, %v", value, err)
	}
	w.stop()
	w.start(w.yaml)
	w.Call(adapterPath, adapterIface+".StartDiscovery")
	w.heard(d)
	if v := w.Get(path, deviceIface, "Paired"); v != true {
		t.Errorf("Paired %v after a restart", v)
	}
	w.link(path)
	if h := w.holder(d); h != "far" {
		t.Errorf("after a restart linked through %q", h)
	}
	w.Call(adapterPath, adapterIface+".RemoveDevice", path)
	eventually(t, "the bond is removed", func() bool { return !w.sim.Proxy("far").Bonded(d.Address) })
	eventually(t, "the device is heard as new", func() bool { return w.Get(path, deviceIface, "Paired") == false })
}

func TestPairingFails(t *testing.T) {
	t.Parallel()
	refusing, patient := sensor(0, "north"), sensor(1, "north")
	refusing.PairError = 5
	w := newWorld(t, setup{devices: []proxysim.DeviceSpec{refusing, patient}, proxies: []proxysim.ProxyConfig{{Name: "north"}}})
	w.fails(devicePath(refusing), deviceIface+".Pair", "org.bluez.Error.AuthenticationFailed", nil)
	path := devicePath(patient)
	w.fails(path, deviceIface+".CancelPairing", "org.bluez.Error.DoesNotExist", nil)
	pair := w.object(path).Go(deviceIface+".Pair", 0, nil)
	w.Call(path, deviceIface+".CancelPairing")
	within(t, "Pair is answered", doneOf(pair))
	if err, ok := pair.Err.(dbus.Error); !ok || err.Name != "org.bluez.Error.AuthenticationCanceled" {
		t.Errorf("canceled Pair: %v", pair.Err)
	}
	// bluetoothd removes a device whose first connection is called off. The device comes back when it is heard again.
	eventually(t, "the device is not paired", func() bool { return w.Get(path, deviceIface, "Paired") == false })
}

// TestDeviceInformation: battery, PnP ID and appearance become properties, and the battery is kept current.
func TestDeviceInformation(t *testing.T) {
	t.Parallel()
	d := sensor(0, "north")
	cccd := []proxysim.DescSpec{{UUID: ble.UUIDCCCD, Value: []byte{0, 0}, Writable: true}}
	d.GATT.Services[0].Characteristics = append(d.GATT.Services[0].Characteristics,
		proxysim.CharSpec{UUID: ble.UUIDAppearance, Properties: []string{"read"}, Value: []byte{0xc1, 0x03}}) // a keyboard
	d.GATT.Services = append(d.GATT.Services,
		proxysim.ServiceSpec{UUID: ble.UUID16(0x180a), Characteristics: []proxysim.CharSpec{
			{UUID: ble.UUIDPnPID, Properties: []string{"read"}, Value: []byte{2, 0x6d, 0x04, 0x1a, 0xb3, 0x01, 0x02}}}},
		proxysim.ServiceSpec{Handle: 0x40, UUID: ble.UUID16(0x180f), Characteristics: []proxysim.CharSpec{
			{UUID: ble.UUIDBatteryLevel, Properties: []string{"read", "notify"}, Value: []byte{77}, Descriptors: cccd}}})
	w := newWorld(t, setup{devices: []proxysim.DeviceSpec{d}, proxies: []proxysim.ProxyConfig{{Name: "north"}}})
	path := devicePath(d)
	w.link(path)
	const battery = "org.bluez.Battery1"
	wants := func(iface, name string, want any) {
		t.Helper()
		eventually(t, name+" is right", func() bool { return w.Get(path, iface, name) == want })
	}
	wants(deviceIface, "Modalias", "usb:v046DpB31Ad0201")
	wants(deviceIface, "Appearance", uint16(0x03c1))
	wants(deviceIface, "Icon", "input-keyboard")
	wants(battery, "Percentage", byte(77))
	eventually(t, "the battery is subscribed", func() bool {
		s, err := w.sim.Air().Status(d.ID)
		return err == nil && len(s.Subscriptions) == 1
	})
	if err := w.sim.Air().Notify(d.ID, 0x42, []byte{76}, false); err != nil {
		t.Fatal(err)
	}
	wants(battery, "Percentage", byte(76))
	w.Call(path, deviceIface+".Disconnect")
	if _, there := w.Objects()[path][battery]; there {
		t.Error("Battery1 is there without a link")
	}
}
