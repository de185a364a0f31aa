package bluezshim_test

import (
	"fmt"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"

	"github.com/godbus/dbus/v5"
)

// rich is an advertisement with everything in it.
func rich() ble.Advertisement {
	return ble.Advertisement{
		Flags: 6, HasFlags: true, Name: " Ünit\xff\x00\x00", NameComplete: true, TxPower: -4, HasTxPower: true,
		Appearance: 0x03c1, HasAppearance: true, ServiceUUIDs: []ble.UUID{ble.UUID16(0x180f), uuidCustom},
		ManufacturerData: []ble.ManufacturerData{{Company: 0x4c, Data: []byte{1, 2}}},
		ServiceData:      []ble.ServiceData{{UUID: ble.UUID16(0xfcd2), Data: []byte{3}}},
		Other:            []ble.ADStructure{{Type: 0x24, Data: []byte{4}}, {Type: 0x26, Data: []byte{5}}},
	}
}

func TestDeviceAppearsComplete(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	c.want("StartDiscovery: ok", "hci0 Adapter1 Discovering=true")
	r := heard(dev1, rich())
	r.Type = ble.Random
	h.air[0].Report(t, r)
	c.want("+ hci0/dev1")
	want := map[string]string{
		"Address": "AA:BB:CC:DD:EE:01", "AddressType": "random", "Name": "Ünit", "Alias": "Ünit", "Appearance": "961",
		"Icon": "input-keyboard", "Paired": "false", "Bonded": "false", "Trusted": "false", "Blocked": "false",
		"LegacyPairing": "false", "CablePairing": "false", "RSSI": "-60", "Connected": "false",
		"UUIDs":   "[0000180f-0000-1000-8000-00805f9b34fb " + uuidCustom.String() + " 0000fcd2-0000-1000-8000-00805f9b34fb]",
		"Adapter": "hci0", "ManufacturerData": "{004c:0102}", "ServiceData": "{0000fcd2-0000-1000-8000-00805f9b34fb:03}",
		"TxPower": "-4", "ServicesResolved": "false", "AdvertisingFlags": "06", "AdvertisingData": "{24:04 26:05}",
	}
	check(t, "Device1", c.props("hci0/dev1", "Device1"), want)
	added := map[string]string{}
	for k, v := range c.added["hci0/dev1"]["org.bluez.Device1"] {
		added[k] = value(v)
	}
	check(t, "InterfacesAdded", added, want)
	for name := range want {
		switch name {
		case "Alias", "Trusted", "Blocked":
		default:
			c.set("hci0/dev1", "Device1", name, "x")
			c.want("Set: DBus.Error.PropertyReadOnly: Property '" + name + "' is not writable")
		}
	}
	for _, name := range []string{"Class", "Modalias", "WakeAllowed", "Sets", "Nonsense"} {
		check(t, name, c.get("hci0/dev1", "Device1", name), "DBus.Error.InvalidArgs: No such property '"+name+"'")
	}
	c.set("hci0/dev1", "Device1", "WakeAllowed", true)
	c.want("Set: DBus.Error.UnknownProperty: No such property 'WakeAllowed'")
}

// TestDeviceSet is recorded of bluetoothd 5.87, device_properties.
func TestDeviceSet(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	for _, tt := range []struct {
		name  string
		value any
		lines []string
	}{
		{"Trusted", true, []string{"hci0/dev1 Device1 Trusted=true", "Set: ok"}},
		{"Trusted", true, []string{"Set: ok"}},
		{"Alias", "Nick", []string{"hci0/dev1 Device1 Alias=Nick", "Set: ok"}},
		{"Alias", "Nick", []string{"Set: ok"}},
		{"Alias", "", []string{"hci0/dev1 Device1 Alias=One", "Set: ok"}},
		{"Blocked", true, []string{"hci0/dev1 Device1 Blocked=true", "Set: ok"}},
		{"Blocked", true, []string{"Set: ok"}},
		{"Trusted", "yes", []string{"Set: DBus.Error.InvalidSignature: Invalid signature for 'Trusted'"}},
		{"Blocked", byte(1), []string{"Set: DBus.Error.InvalidSignature: Invalid signature for 'Blocked'"}},
	} {
		c.set("hci0/dev1", "Device1", tt.name, tt.value)
		if got := c.lines(); fmt.Sprint(got) != fmt.Sprint(tt.lines) {
			t.Errorf("%s = %v:\n got %q\nwant %q", tt.name, tt.value, got, tt.lines)
		}
	}
	st, _ := h.store.Device(dev1)
	check(t, "stored", st, bluezshim.DeviceState{Name: "One", Trusted: true, Blocked: true})
	for _, tt := range []struct{ method, want string }{{"Connect", "Failed: le-connection-refused"}, {"Pair", "AuthenticationFailed: Authentication Failed"}} {
		_, got := c.call("hci0/dev1", "Device1."+tt.method)
		check(t, tt.method+" of a blocked device", got, tt.want)
	}
	c.set("hci0/dev1", "Device1", "Trusted", false)
	c.set("hci0/dev1", "Device1", "Blocked", false)
	c.lines()
	if _, ok := h.store.Device(dev1); ok {
		t.Error("the store has a device of which nothing is worth keeping")
	}
}

func TestNamelessAlias(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	h.air[0].Report(t, heard(dev1, ble.Advertisement{}))
	c.lines()
	check(t, "Alias", c.get("hci0/dev1", "Device1", "Alias"), "AA-BB-CC-DD-EE-01")
	check(t, "UUIDs", c.get("hci0/dev1", "Device1", "UUIDs"), "[]")
	check(t, "AdvertisingFlags", c.get("hci0/dev1", "Device1", "AdvertisingFlags"), "00")
	short := ble.Advertisement{Name: "Sho"}
	h.air[0].Report(t, heard(dev1, short))
	c.want("hci0/dev1 Device1 Alias=Sho Name=Sho")
	h.air[0].Report(t, heard(dev1, plain("Shorty")))
	c.want("hci0/dev1 Device1 AdvertisingFlags=06 Alias=Shorty Name=Shorty")
	h.air[0].Report(t, heard(dev1, short)) // a shortened name replaces no complete one
	c.want()
	c.set("hci0/dev1", "Device1", "Alias", "mine")
	c.lines()
	h.air[0].Report(t, heard(dev1, plain("Other")))
	c.want("hci0/dev1 Device1 Name=Other")
}

// TestReports feeds one report after another.
func TestReports(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	h.air[0].Report(t, heard(dev1, rich()))
	c.lines()
	md := func(company uint16, data ...byte) ble.Advertisement {
		return ble.Advertisement{Flags: 6, HasFlags: true, ManufacturerData: []ble.ManufacturerData{{Company: company, Data: data}}}
	}
	sd := ble.Advertisement{ServiceData: []ble.ServiceData{{UUID: ble.UUID16(0xfff0), Data: []byte{9}}}}
	const dev = "hci0/dev1 Device1 "
	for _, tt := range []struct {
		name  string
		adv   ble.Advertisement
		set   func(r *ble.Report)
		lines []string
	}{
		{"nothing new", rich(), nil, nil},
		{"RSSI by 7", rich(), func(r *ble.Report) { r.RSSI = -53 }, nil},
		{"RSSI by 8", rich(), func(r *ble.Report) { r.RSSI = -52 }, []string{dev + "RSSI=-52"}},
		{"RSSI by 8 down", rich(), func(r *ble.Report) { r.RSSI = -60 }, []string{dev + "RSSI=-60"}},
		{"RSSI unknown", rich(), nil, nil},
		{"every RSSI", rich(), func(r *ble.Report) { r.RSSI, r.EveryRSSI = -60, true }, []string{dev + "RSSI=-60"}},
		{"RSSI alone", rich(), func(r *ble.Report) { r.RSSI, r.Payloads = -30, nil }, []string{dev + "RSSI=-30"}},
		{"another company", md(0xffff, 7), nil, []string{dev + "ManufacturerData={004c:0102 ffff:07}"}},
		{"changed bytes", md(0xffff, 8), nil, []string{dev + "ManufacturerData={004c:0102 ffff:08}"}},
		{"the same bytes", md(0xffff, 8), nil, nil},
		{"new service data", sd, nil, []string{dev + "ServiceData={0000fcd2-0000-1000-8000-00805f9b34fb:03 0000fff0-0000-1000-8000-00805f9b34fb:09} UUIDs=[0000180f-0000-1000-8000-00805f9b34fb " +
			uuidCustom.String() + " 0000fcd2-0000-1000-8000-00805f9b34fb 0000fff0-0000-1000-8000-00805f9b34fb]"}},
		{"several payloads", md(1, 1), func(r *ble.Report) {
			second := md(2, 2)
			r.Payloads = append(r.Payloads, &second)
		}, []string{dev + "ManufacturerData={0001:01 0002:02 004c:0102 ffff:08}"}},
		{"duplicate data", md(3, 3), func(r *ble.Report) { r.Duplicates = true }, []string{dev + "ManufacturerData={0003:03}"}},
		{"the same duplicate", md(3, 3), func(r *ble.Report) { r.Duplicates, r.Payloads = true, nil }, []string{dev + "ManufacturerData={0003:03}"}},
		{"flags", ble.Advertisement{HasFlags: true, Flags: 4}, nil, []string{dev + "AdvertisingFlags=04"}},
		{"TxPower", ble.Advertisement{HasTxPower: true, TxPower: 8}, nil, []string{dev + "TxPower=8"}},
		{"appearance without icon", ble.Advertisement{HasAppearance: true, Appearance: 0x0340}, nil, []string{dev + "Appearance=832 -Icon"}},
		{"transport discovery data", ble.Advertisement{Other: []ble.ADStructure{{Type: 0x26, Data: []byte{6}}}}, nil, []string{dev + "AdvertisingData={24:04 26:06}"}},
		{"other data silently", ble.Advertisement{Other: []ble.ADStructure{{Type: 0x24, Data: []byte{6}}}}, nil, nil},
		{"not wanted", md(4, 4), func(r *ble.Report) { r.Discovered = false }, nil},
	} {
		r := heard(dev1, tt.adv)
		r.RSSI = 0 // only for the cases that set it
		if tt.set != nil {
			tt.set(r)
		}
		h.air[0].Report(t, r)
		if got := c.lines(); fmt.Sprint(got) != fmt.Sprint(tt.lines) {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.lines)
		}
	}
	check(t, "AdvertisingData", c.get("hci0/dev1", "Device1", "AdvertisingData"), "{24:06 26:06}")
}

func TestAdvertsAreBounded(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	for i := range 200 {
		h.air[0].Report(t, heard(dev1, ble.Advertisement{
			ServiceUUIDs:     []ble.UUID{ble.UUID16(uint16(i))},
			ManufacturerData: []ble.ManufacturerData{{Company: uint16(i), Data: []byte{1}}},
			ServiceData:      []ble.ServiceData{{UUID: ble.UUID16(uint16(i)), Data: []byte{1}}},
			Other:            []ble.ADStructure{{Type: uint8(i), Data: []byte{1}}},
		}))
	}
	for name, limit := range map[string]int{"UUIDs": 64 * 37, "ManufacturerData": 32 * 8, "ServiceData": 32 * 40, "AdvertisingData": 32 * 6} {
		if got := c.get("hci0/dev1", "Device1", name); len(got) > limit+2 || len(got) < limit/2 {
			t.Errorf("%s has %d characters, want at most %d", name, len(got), limit)
		}
	}
}

func TestIcons(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	for appearance, want := range map[uint16]string{
		0x0001: "unknown", 0x0040: "phone", 0x0080: "computer", 0x0140: "video-display", 0x0280: "multimedia-player", 0x02c0: "scanner",
		0x03c1: "input-keyboard", 0x03c2: "input-mouse", 0x03c3: "input-gaming", 0x03c4: "input-gaming", 0x03c5: "input-tablet",
		0x03c8: "scanner", 0x03c7: "DBus.Error.InvalidArgs: No such property 'Icon'",
	} {
		h.air[0].Report(t, heard(dev1, ble.Advertisement{HasAppearance: true, Appearance: appearance}))
		check(t, fmt.Sprintf("%#04x", appearance), c.get("hci0/dev1", "Device1", "Icon"), want)
	}
}

func TestProfileMethodsOfDevices(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	const invalid = "InvalidArguments: Invalid arguments in method call"
	for _, tt := range []struct{ method, uuid, want string }{
		{"ConnectProfile", "nonsense", "InvalidArguments: br-connection-invalid-argument"},
		{"ConnectProfile", "0000beef-0000-1000-8000-00805f9b34fb", "Failed: br-connection-sdp-search"},
		{"ConnectProfile", "180f", "Failed: br-connection-sdp-search"},
		{"DisconnectProfile", "nonsense", invalid},
		{"DisconnectProfile", "180f", invalid},
	} {
		_, got := c.call("hci0/dev1", "Device1."+tt.method, tt.uuid)
		check(t, tt.method+" "+tt.uuid, got, tt.want)
	}
	c.set("hci0/dev1", "Device1", "Trusted", true)
	c.send("hci0/dev1", "Device1.Connect")
	op := h.links.Next(t, "Connect")
	_, got := c.call("hci0/dev1", "Device1.ConnectProfile", "180f")
	check(t, "while connecting", got, "InProgress: br-connection-busy")
	op.End(nil)
}

func TestStoredDeviceIsRestored(t *testing.T) {
	t.Parallel()
	h := start(t, 2, func(cfg *bluezshim.Config) {
		cfg.Store.SetDevice(dev1, bluezshim.DeviceState{
			Type: ble.Random, Name: "One", Alias: "Mine", Appearance: 0x40, Modalias: "usb:v1p2d3", Trusted: true, Bonded: true,
			UUIDs: []ble.UUID{uuidCustom},
		})
		cfg.Store.SetDevice(dev2, bluezshim.DeviceState{Alias: "only set"})
	})
	c := h.client()
	check(t, "Device1", c.props("hci1/dev1", "Device1"), map[string]string{
		"Address": "AA:BB:CC:DD:EE:01", "AddressType": "random", "Name": "One", "Alias": "Mine", "Appearance": "64", "Icon": "phone",
		"Paired": "true", "Bonded": "true", "Trusted": "true", "Blocked": "false", "LegacyPairing": "false", "CablePairing": "false",
		"Connected": "false", "UUIDs": "[" + uuidCustom.String() + "]", "Modalias": "usb:v1p2d3", "Adapter": "hci1", "ServicesResolved": "false",
	})
	h.clock.Advance(time.Hour)
	c.want() // a bonded device stays
	if _, e := c.call("hci0/dev2", "Device1.Connect"); e != "DBus.Error.UnknownObject: Method \"Connect\" with signature \"\" on interface \"org.bluez.Device1\" doesn't exist" {
		t.Errorf("an unbonded device: %q", e)
	}
	c.send("hci0", "Adapter1.StartDiscovery")
	h.air[0].Report(t, heard(dev2, plain("Two")))
	check(t, "alias of an unbonded device", c.get("hci0/dev2", "Device1", "Alias"), "only set")
}

func TestRemoveDeviceErrors(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	const missing = "DoesNotExist: Does Not Exist"
	path := func(s string) dbus.ObjectPath { return dbus.ObjectPath(s) }
	for _, p := range []dbus.ObjectPath{
		"/", "/org/bluez", "/org/bluez/hci0", path("/org/bluez/hci0/dev_11_22_33_44_55_66"), path("/org/bluez/hci1/dev_AA_BB_CC_DD_EE_01"),
		path("/org/bluez/hci0/dev_"), path("/org/bluez/hci0/dev_AA_BB_CC_DD_EE_01/x"), path("/org/bluez/hci0/dev_AABBCCDDEE01"),
	} {
		_, got := c.call("hci0", "Adapter1.RemoveDevice", p)
		check(t, string(p), got, missing)
	}
	c.set("hci0/dev1", "Device1", "Trusted", true)
	c.lines()
	c.send("hci0", "Adapter1.RemoveDevice", path("/org/bluez/HCI0/dev_aa_bb_cc_dd_ee_01"))
	c.want("- hci0/dev1", "RemoveDevice: ok")
	h.links.Next(t, "Forget")
	check(t, "forgotten by the air", h.air[0].Forgotten(), []ble.Address{dev1})
	if _, ok := h.store.Device(dev1); ok {
		t.Error("the store still has the device")
	}
	_, got := c.call("hci0", "Adapter1.RemoveDevice", fullPath("hci0/dev1"))
	check(t, "again", got, missing)
}

// TestNameWithInvalidBytes: bluetoothd 5.87 cuts a name at the first one; where nothing is left, there is no name.
func TestNameWithInvalidBytes(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	h.air[0].Report(t, heard(dev1, plain("Kuche l\xc3")), heard(dev2, plain("\xff\xff\xff\xff")))
	c.lines()
	check(t, "Name", c.get("hci0/dev1", "Device1", "Name"), "Kuche l")
	check(t, "Alias", c.get("hci0/dev1", "Device1", "Alias"), "Kuche l")
	check(t, "Name", c.get("hci0/dev2", "Device1", "Name"), "DBus.Error.InvalidArgs: No such property 'Name'")
	check(t, "Alias", c.get("hci0/dev2", "Device1", "Alias"), "AA-BB-CC-DD-EE-02")
	h.air[0].Report(t, heard(dev1, plain("\xff"))) // no reason to forget a name
	c.want()
	h.air[0].Report(t, heard(dev2, plain("Lamp \xe2\x82")))
	c.want("hci0/dev2 Device1 Alias=Lamp Name=Lamp")
}
