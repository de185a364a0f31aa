package firmware

import (
	"strings"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/proxysim"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// UUIDs of a peripheral.
var (
	vendor  = mustUUID("7f510004-1b15-11e5-b60b-1697f925ec7b")
	echo    = ble.UUID16(0xfff1) // read, write, write without response
	counter = mustUUID("7f510005-1b15-11e5-b60b-1697f925ec7b")
	event   = ble.UUID16(0xfff3) // indicate
	secret  = ble.UUID16(0xfff4) // read, over an encrypted link only
	label   = ble.UUID16(0x2901)
)

func mustUUID(s string) ble.UUID {
	u, err := ble.ParseUUID(s)
	if err != nil {
		panic(err)
	}
	return u
}

// Value handles of a peripheral.
const (
	echoHandle    = 6
	counterHandle = 9
	eventHandle   = 12
)

// peripheral is a device that the named proxies hear at -60 dBm. It says in its advertisement all that one can
// say there, and has every kind of characteristic.
func peripheral(n int, proxies ...string) proxysim.DeviceSpec {
	flags, tx := uint8(6), int8(-8)
	d := proxysim.DeviceSpec{
		ID: strings.Join(append([]string{"device"}, proxies...), "-"), Address: 0x00AA03000000 + ble.Address(n),
		Connectable: true, MTU: 247, RSSI: map[string]int8{},
		Advert: proxysim.AdvertSpec{
			Flags: &flags, LocalName: "Sensor Übung", ServiceUUIDs: []ble.UUID{ble.UUID16(0x180f), vendor}, TxPower: &tx, IntervalMS: 1000,
			ManufacturerData: map[string]proxysim.HexBytes{"1177": {0x05, 0x12, 0xfc}}, ServiceData: map[string]proxysim.HexBytes{"0000fcd2-0000-1000-8000-00805f9b34fb": {0x40, 0x02}},
		},
	}
	for _, p := range proxies {
		d.RSSI[p] = -60
	}
	cccd := func() []proxysim.DescSpec {
		return []proxysim.DescSpec{{UUID: ble.UUIDCCCD, Value: []byte{0, 0}, Writable: true}}
	}
	d.GATT.Services = []proxysim.ServiceSpec{
		{UUID: ble.UUID16(0x1800), Characteristics: []proxysim.CharSpec{
			{UUID: ble.UUIDDeviceName, Properties: []string{"read"}, Value: []byte("Sensor")},
		}},
		{UUID: vendor, Characteristics: []proxysim.CharSpec{
			{
				UUID: echo, Properties: []string{"read", "write", "write-without-response"}, Value: []byte("hello"),
				Descriptors: []proxysim.DescSpec{{UUID: label, Value: []byte("Echo"), Writable: true}},
			},
			{UUID: counter, Properties: []string{"notify"}, Descriptors: cccd()},
			{UUID: event, Properties: []string{"indicate"}, Descriptors: cccd()},
			{UUID: secret, Properties: []string{"read"}, Value: []byte("secret"), Security: "encryption"},
		}},
	}
	return d
}

func devicePath(d proxysim.DeviceSpec) dbus.ObjectPath {
	return adapterPath + "/dev_" + dbus.ObjectPath(strings.ReplaceAll(d.Address.String(), ":", "_"))
}

func proxyPath(name string) dbus.ObjectPath {
	return "/bluez_esphome/proxy/" + dbus.ObjectPath(config.PathElement(name))
}

// advertised waits for a device and compares what is shown of it with what it advertises. Decoded advertisements lack
// the TX power.
func (c *client) advertised(path dbus.ObjectPath, decoded bool) {
	c.t.Helper()
	want := map[string]string{
		"Alias": `"Sensor Übung"`, "AddressType": `"public"`, "RSSI": "@n -60", "Connected": "false",
		"UUIDs":            `["0000180f-0000-1000-8000-00805f9b34fb", "` + vendor.String() + `", "0000fcd2-0000-1000-8000-00805f9b34fb"]`,
		"ManufacturerData": `@a{qv} {1177: <@ay [0x5, 0x12, 0xfc]>}`,
		"ServiceData":      `{"0000fcd2-0000-1000-8000-00805f9b34fb": <@ay [0x40, 0x2]>}`,
	}
	if !decoded {
		want["TxPower"] = "@n -8"
	}
	diff := ""
	defer func() {
		if diff != "" {
			c.t.Logf("%s is shown wrongly (-want +got):\n%s", path, diff)
		}
	}()
	// What nothing was heard of for long has no RSSI, and then goes, until it is heard again.
	eventually(c.t, limit, string(path)+" is shown as it advertises", func() bool {
		var props map[string]dbus.Variant
		if call := c.try(operationTime, path, properties+".GetAll", deviceIface); call.Err != nil || call.Store(&props) != nil {
			return false
		}
		got := map[string]string{}
		for name := range want {
			if v, ok := props[name]; ok {
				got[name] = v.String()
			}
		}
		diff = cmp.Diff(want, got)
		return diff == ""
	})
}

// database lists what a device is shown to have, as "handle kind UUID flags".
func (c *client) database(device dbus.ObjectPath) []string {
	c.t.Helper()
	var out []string
	for path, ifaces := range c.objects() {
		if !strings.HasPrefix(string(path), string(device)+"/") {
			continue
		}
		rest := string(path[len(device)+1:])
		for _, i := range []string{serviceIface, charIface, descIface} {
			if p, ok := ifaces[i]; ok {
				flags, _ := p["Flags"].Value().([]string)
				out = append(out, strings.TrimSpace(rest+" "+p["UUID"].Value().(string)+" "+strings.Join(flags, ",")))
			}
		}
	}
	return out
}

// wantDatabase is what a peripheral's database looks like on the bus.
var wantDatabase = []string{
	"service0001 00001800-0000-1000-8000-00805f9b34fb",
	"service0001/char0002 00002a00-0000-1000-8000-00805f9b34fb read",
	"service0004 " + vendor.String(),
	"service0004/char0005 " + echo.String() + " read,write-without-response,write",
	"service0004/char0005/desc0007 " + label.String(),
	"service0004/char0008 " + counter.String() + " notify",
	"service0004/char0008/desc000a 00002902-0000-1000-8000-00805f9b34fb",
	"service0004/char000b " + event.String() + " indicate",
	"service0004/char000b/desc000d 00002902-0000-1000-8000-00805f9b34fb",
	"service0004/char000e " + secret.String() + " read",
}
