package bluezshim_test

import (
	"fmt"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/bluezshim"

	"github.com/godbus/dbus/v5"
)

func TestAdapterProperties(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	check(t, "Adapter1", c.props("hci0", "Adapter1"), map[string]string{
		"Address": "02:00:00:00:00:00", "AddressType": "public", "Name": "proxies", "Alias": "proxies", "Class": "0",
		"Connectable": "false", "Powered": "true", "PowerState": "on", "Discoverable": "false", "DiscoverableTimeout": "180",
		"Pairable": "false", "PairableTimeout": "0", "Discovering": "false", "Modalias": "usb:v1D6Bp0246d0557",
		"UUIDs": "[00001801-0000-1000-8000-00805f9b34fb 00001800-0000-1000-8000-00805f9b34fb]",
		"Roles": "[central]", "Manufacturer": "741", "Version": "9",
	})
	check(t, "monitor manager", c.props("hci0", "AdvertisementMonitorManager1"), map[string]string{
		"SupportedMonitorTypes": "[or_patterns]", "SupportedFeatures": "[]",
	})
	check(t, "advertising manager", c.props("hci0", "LEAdvertisingManager1"), map[string]string{
		"ActiveInstances": "0", "SupportedInstances": "0", "SupportedIncludes": "[]", "SupportedFeatures": "[]", "SupportedCapabilities": "{MaxAdvLen:31 MaxScnRspLen:31 MaxTxPower:9 MinTxPower:-12}",
	})
	for name := range c.props("hci0", "Adapter1") {
		switch name {
		case "Alias", "Connectable", "Powered", "Discoverable", "DiscoverableTimeout", "Pairable", "PairableTimeout":
		default:
			c.set("hci0", "Adapter1", name, "x")
			c.want("Set: DBus.Error.PropertyReadOnly: Property '" + name + "' is not writable")
		}
	}
	check(t, "absent", c.get("hci0", "Adapter1", "ExperimentalFeatures"), "DBus.Error.InvalidArgs: No such property 'ExperimentalFeatures'")
}

// TestAdapterSet sets every writable property, one after another (recorded of bluetoothd 5.87, adapter_properties).
func TestAdapterSet(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	for _, tt := range []struct {
		name  string
		value any
		lines []string
	}{
		{"Alias", "host", []string{"hci0 Adapter1 Alias=host", "Set: ok"}},
		{"Alias", "host", []string{"Set: ok"}},
		{"Alias", "", []string{"hci0 Adapter1 Alias=proxies", "Set: ok"}},
		{"Alias", "", []string{"Set: ok"}},
		{"Alias", uint32(1), []string{"Set: DBus.Error.InvalidSignature: Invalid signature for 'Alias'"}},
		{"Discoverable", true, []string{"Set: ok", "hci0 Adapter1 Connectable=true Discoverable=true"}},
		{"Discoverable", true, []string{"Set: ok"}},
		{"DiscoverableTimeout", uint32(5), []string{"Set: ok", "hci0 Adapter1 DiscoverableTimeout=5"}},
		{"DiscoverableTimeout", uint32(5), []string{"Set: ok", "hci0 Adapter1 DiscoverableTimeout=5"}},
		{"Discoverable", false, []string{"Set: ok", "hci0 Adapter1 Connectable=false Discoverable=false"}},
		{"Connectable", true, []string{"Set: ok", "hci0 Adapter1 Connectable=true"}},
		{"Discoverable", true, []string{"Set: ok", "hci0 Adapter1 Discoverable=true"}},
		{"Connectable", false, []string{"Set: ok", "hci0 Adapter1 Connectable=false Discoverable=false"}},
		{"Pairable", false, []string{"Set: ok"}},
		{"Pairable", true, []string{"Set: ok", "hci0 Adapter1 Pairable=true"}},
		{"PairableTimeout", uint32(9), []string{"Set: ok", "hci0 Adapter1 PairableTimeout=9"}},
		{"PairableTimeout", uint32(9), []string{"Set: ok", "hci0 Adapter1 PairableTimeout=9"}},
		{"Powered", true, []string{"Set: ok"}},
		{"Powered", false, []string{
			"hci0 Adapter1 PowerState=on-disabling", "Set: ok", "hci0 Adapter1 Discovering=false PowerState=off Powered=false",
		}},
		{"Discoverable", true, []string{"Set: Failed: Not Powered"}},
		{"Powered", false, []string{"Set: ok"}},
		{"Powered", true, []string{"hci0 Adapter1 PowerState=off-enabling", "Set: ok", "hci0 Adapter1 PowerState=on Powered=true"}},
		{"Powered", byte(1), []string{"Set: DBus.Error.InvalidSignature: Invalid signature for 'Powered'"}},
	} {
		c.set("hci0", "Adapter1", tt.name, tt.value)
		if got := c.lines(); fmt.Sprint(got) != fmt.Sprint(tt.lines) {
			t.Errorf("%s = %v:\n got %q\nwant %q", tt.name, tt.value, got, tt.lines)
		}
	}
	check(t, "stored", h.store.Adapter(0), bluezshim.AdapterState{DiscoverableTimeout: 5, PairableTimeout: 9})
}

func TestAdapterStateIsRestored(t *testing.T) {
	t.Parallel()
	h := start(t, 1, func(cfg *bluezshim.Config) {
		cfg.Store.SetAdapter(0, bluezshim.AdapterState{Alias: "mine", Off: true, DiscoverableTimeout: 1, PairableTimeout: 2})
	})
	got := h.client().props("hci0", "Adapter1")
	for name, want := range map[string]string{
		"Alias": "mine", "Name": "proxies", "Powered": "false", "PowerState": "off", "DiscoverableTimeout": "1", "PairableTimeout": "2",
	} {
		check(t, name, got[name], want)
	}
}

func TestAliasIsCutLikeAControllersName(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	long, want := "", ""
	for range 200 {
		long += "ö"
	}
	for range 124 {
		want += "ö"
	}
	c.set("hci0", "Adapter1", "Alias", long)
	c.want("hci0 Adapter1 Alias="+want, "Set: ok")
	c.set("hci0/dev1", "Device1", "Alias", "a"+long)
	c.want("hci0/dev1 Device1 Alias=a"+want[2:], "Set: ok")
}

func TestDiscoverableTimeout(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.set("hci0", "Adapter1", "DiscoverableTimeout", uint32(10))
	c.set("hci0", "Adapter1", "Discoverable", true)
	c.lines()
	h.clock.Advance(9 * time.Second)
	c.want()
	c.set("hci0", "Adapter1", "DiscoverableTimeout", uint32(20)) // begins anew
	c.lines()
	h.clock.Advance(19 * time.Second)
	c.want()
	h.clock.Advance(time.Second)
	c.want("hci0 Adapter1 Connectable=false Discoverable=false")
	c.set("hci0", "Adapter1", "DiscoverableTimeout", uint32(0))
	c.set("hci0", "Adapter1", "Discoverable", true)
	c.lines()
	h.clock.Advance(24 * time.Hour)
	c.want()
}

func TestOffline(t *testing.T) {
	t.Parallel()
	h := start(t, 2)
	c := h.client()
	h.shim.SetOnline(1, false)
	c.want("hci1 Adapter1 PowerState=on-disabling", "hci1 Adapter1 Discovering=false PowerState=off Powered=false")
	c.set("hci1", "Adapter1", "Powered", true)
	c.want("Set: Failed: Not Powered")
	h.shim.SetOnline(1, true)
	c.want("hci1 Adapter1 PowerState=off-enabling", "hci1 Adapter1 PowerState=on Powered=true")
	c.set("hci1", "Adapter1", "Powered", false)
	c.lines()
	h.shim.SetOnline(1, false)
	h.shim.SetOnline(1, true)
	c.want() // the user's off counts
}

func TestAddAdapter(t *testing.T) {
	t.Parallel()
	h := start(t, 1, func(cfg *bluezshim.Config) {
		cfg.Store.SetDevice(dev1, bluezshim.DeviceState{Bonded: true, Name: "One"})
	})
	c := h.client()
	check(t, "restored", c.get("hci0/dev1", "Device1", "Paired"), "true")
	h.shim.AddAdapter(bluezshim.AdapterConfig{Index: 3, Address: 5, Name: "more", Air: h.air[0], Via: "p"})
	c.want("+ hci3", "+ hci3/dev1")
	check(t, "in the new adapter", c.get("hci3/dev1", "Device1", "Alias"), "One")
}

func TestAgents(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	a, b := h.client(), h.client()
	step := func(c *client, method string, want string, args ...any) {
		t.Helper()
		_, got := c.call("bluez", "AgentManager1."+method, args...)
		check(t, fmt.Sprint(method, args), got, want)
	}
	path, other := dbus.ObjectPath("/a"), dbus.ObjectPath("/b")
	const exists, missing = "AlreadyExists: Already Exists", "DoesNotExist: Does Not Exist"
	step(a, "RequestDefaultAgent", missing, path)
	step(a, "UnregisterAgent", missing, path)
	for _, capability := range []string{"Nonsense", "DisplayOnlyX", "displayonly", " "} {
		step(a, "RegisterAgent", "InvalidArguments: Invalid arguments in method call", path, capability)
	}
	for _, capability := range []string{"", "DisplayOnly", "DisplayYesNo", "KeyboardOnly", "NoInputNoOutput", "KeyboardDisplay", "Key"} {
		step(a, "RegisterAgent", "", path, capability)
		step(a, "UnregisterAgent", "", path)
	}
	a.lines()
	a.send("bluez", "AgentManager1.RegisterAgent", path, "")
	a.want("RegisterAgent: ok", "hci0 Adapter1 Pairable=true")
	check(t, "AgentRegistered", h.shim.AgentRegistered(), true)
	step(a, "RegisterAgent", exists, path, "")
	step(a, "RegisterAgent", exists, other, "")
	step(a, "RequestDefaultAgent", "", path)
	step(a, "RequestDefaultAgent", "", path)
	step(a, "RequestDefaultAgent", missing, other)
	step(a, "UnregisterAgent", missing, other)
	step(b, "UnregisterAgent", missing, path)
	step(b, "RequestDefaultAgent", missing, path)
	step(b, "RegisterAgent", "", path, "")
	a.set("hci0", "Adapter1", "Pairable", false)
	a.lines()
	step(a, "UnregisterAgent", "", path)
	step(a, "UnregisterAgent", missing, path)
	a.want() // one agent is left: nothing changes, and what the user set stays
	a.set("hci0", "Adapter1", "Pairable", true)
	a.lines()
	h.leave(b)
	a.want("hci0 Adapter1 Pairable=false")
	check(t, "AgentRegistered", h.shim.AgentRegistered(), false)
}

func TestProfileManager(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	none := map[string]dbus.Variant{}
	for _, tt := range []struct {
		method, want string
		args         []any
	}{
		{"RegisterProfile", "NotSupported: Operation is not supported", []any{dbus.ObjectPath("/p"), ble.UUID16(0x1101).String(), none}},
		{"RegisterProfile", "InvalidArguments: Invalid arguments in method call", []any{dbus.ObjectPath("/p"), "x", none}},
		{"UnregisterProfile", "DoesNotExist: Does Not Exist", []any{dbus.ObjectPath("/p")}},
	} {
		_, got := c.call("bluez", "ProfileManager1."+tt.method, tt.args...)
		check(t, tt.method, got, tt.want)
	}
}
