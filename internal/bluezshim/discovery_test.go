package bluezshim_test

import (
	"fmt"
	"testing"
	"time"

	"bluez-esphome/internal/ble"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

const (
	invalidArguments = "InvalidArguments: Invalid arguments in method call"
	busy             = "InProgress: Operation already in progress"
	noDiscovery      = "Failed: No discovery started"
	notReady         = "NotReady: Resource Not Ready"
)

type options = map[string]dbus.Variant

func opt(key string, v any) options { return options{key: dbus.MakeVariant(v)} }

// TestDiscoveryFilterKeys are the cases of bluetoothd 5.87's error matrix and the limits.
func TestDiscoveryFilterKeys(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	battery := []ble.UUID{ble.UUID16(0x180f)}
	many := make([]string, 257)
	for i := range many {
		many[i] = "180f"
	}
	for _, tt := range []struct {
		key   string
		value any
		want  *ble.DiscoveryFilter // nil: invalid
	}{
		{"UUIDs", []string{"0000180F-0000-1000-8000-00805F9B34FB"}, &ble.DiscoveryFilter{UUIDs: battery}},
		{"UUIDs", []string{"180f"}, &ble.DiscoveryFilter{UUIDs: battery}},
		{"UUIDs", []string{"0x180f"}, &ble.DiscoveryFilter{UUIDs: battery}},
		{"UUIDs", []string{"0000180f"}, &ble.DiscoveryFilter{UUIDs: battery}},
		{"UUIDs", []string{}, &ble.DiscoveryFilter{}},
		{"UUIDs", []string{"not a uuid"}, nil},
		{"UUIDs", many, nil},
		{"UUIDs", "180f", nil},
		{"UUIDs", []dbus.ObjectPath{"/"}, nil},
		{"RSSI", int16(-127), &ble.DiscoveryFilter{HasRSSI: true, RSSI: -127}},
		{"RSSI", int16(20), &ble.DiscoveryFilter{HasRSSI: true, RSSI: 20}},
		{"RSSI", int16(-128), nil},
		{"RSSI", int16(21), nil},
		{"RSSI", int32(-70), nil},
		{"Pathloss", uint16(0), &ble.DiscoveryFilter{HasPathloss: true}},
		{"Pathloss", uint16(137), &ble.DiscoveryFilter{HasPathloss: true, Pathloss: 137}},
		{"Pathloss", uint16(138), nil},
		{"Pathloss", int16(50), nil},
		{"Transport", "auto", &ble.DiscoveryFilter{}},
		{"Transport", "le", &ble.DiscoveryFilter{Transport: ble.TransportLE}},
		{"Transport", "LE", nil},
		{"Transport", "wifi", nil},
		{"Transport", byte(1), nil},
		{"DuplicateData", true, &ble.DiscoveryFilter{DuplicateData: true}},
		{"DuplicateData", "yes", nil},
		{"Discoverable", true, &ble.DiscoveryFilter{Discoverable: true}},
		{"Discoverable", byte(1), nil},
		{"Pattern", "Gold", &ble.DiscoveryFilter{HasPattern: true, Pattern: "Gold"}},
		{"Pattern", "", &ble.DiscoveryFilter{HasPattern: true}},
		{"Pattern", fmt.Sprintf("%0257d", 1), nil},
		{"Pattern", []string{"x"}, nil},
		{"AutoConnect", true, &ble.DiscoveryFilter{AutoConnect: true}},
		{"AutoConnect", uint32(1), nil},
		{"Nonsense", true, nil},
		{"transport", "le", nil},
	} {
		name := fmt.Sprint(tt.key, " = ", tt.value)
		_, e := c.call("hci0", "Adapter1.SetDiscoveryFilter", opt(tt.key, tt.value))
		if tt.want == nil {
			check(t, name, e, invalidArguments)
			continue
		}
		check(t, name, e, "")
		c.call("hci0", "Adapter1.StartDiscovery")
		check(t, name, h.air[0].Sessions(), []ble.DiscoveryFilter{*tt.want})
		c.call("hci0", "Adapter1.StopDiscovery")
		check(t, name+", stopped", len(h.air[0].Sessions()), 0)
	}
	_, e := c.call("hci0", "Adapter1.SetDiscoveryFilter", options{"RSSI": dbus.MakeVariant(int16(-70)), "Pathloss": dbus.MakeVariant(uint16(50))})
	check(t, "RSSI and Pathloss", e, invalidArguments)
	_, e = c.call("hci0", "Adapter1.SetDiscoveryFilter", opt("Transport", "bredr"))
	check(t, "bredr", e, "")
	_, e = c.call("hci0", "Adapter1.StartDiscovery")
	check(t, "start bredr", e, busy)
	_, e = c.call("hci0", "Adapter1.StopDiscovery")
	check(t, "stop bredr", e, noDiscovery)
	_, e = c.call("hci0", "Adapter1.SetDiscoveryFilter")
	check(t, "no arguments", e, `DBus.Error.UnknownMethod: Method "SetDiscoveryFilter" with signature "" on interface "org.bluez.Adapter1" doesn't exist`)
	body, _ := c.call("hci0", "Adapter1.GetDiscoveryFilters")
	check(t, "GetDiscoveryFilters", value(body[0]), "[UUIDs RSSI Pathloss Transport DuplicateData Discoverable Pattern AutoConnect]")
}

func TestDiscoverySessions(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	a, b := h.client(), h.client()
	filters := func(want ...ble.DiscoveryFilter) {
		t.Helper()
		if diff := cmp.Diff(want, h.air[0].Sessions()); diff != "" && len(want)+len(h.air[0].Sessions()) > 0 {
			t.Errorf("filters (-want +got):\n%s", diff)
		}
	}
	rssi := func(v int16) ble.DiscoveryFilter { return ble.DiscoveryFilter{HasRSSI: true, RSSI: v} }
	a.send("hci0", "Adapter1.StopDiscovery")
	a.want("StopDiscovery: " + noDiscovery)
	a.send("hci0", "Adapter1.SetDiscoveryFilter", opt("RSSI", int16(-70)))
	a.want("SetDiscoveryFilter: ok")
	filters()
	a.send("hci0", "Adapter1.StartDiscovery")
	a.send("hci0", "Adapter1.StartDiscovery")
	a.want("StartDiscovery: ok", "hci0 Adapter1 Discovering=true", "StartDiscovery: "+busy)
	filters(rssi(-70))
	b.lines()
	b.send("hci0", "Adapter1.StopDiscovery")
	b.send("hci0", "Adapter1.StartDiscovery")
	b.want("StopDiscovery: "+noDiscovery, "StartDiscovery: ok")
	filters(rssi(-70), ble.DiscoveryFilter{})
	a.send("hci0", "Adapter1.SetDiscoveryFilter", opt("RSSI", int16(-50))) // merged at once
	a.want("SetDiscoveryFilter: ok")
	filters(rssi(-50), ble.DiscoveryFilter{})
	a.send("hci0", "Adapter1.StopDiscovery")
	a.send("hci0", "Adapter1.StopDiscovery")
	a.want("StopDiscovery: ok", "StopDiscovery: "+noDiscovery)
	filters(ble.DiscoveryFilter{})
	a.send("hci0", "Adapter1.StartDiscovery") // with the filter of before
	a.want("StartDiscovery: ok")
	filters(rssi(-50), ble.DiscoveryFilter{})
	a.send("hci0", "Adapter1.SetDiscoveryFilter", options{})
	a.want("SetDiscoveryFilter: ok")
	filters(ble.DiscoveryFilter{}, ble.DiscoveryFilter{})
	h.leave(a)
	b.want()
	filters(ble.DiscoveryFilter{})
	watch := h.client()
	h.leave(b)
	watch.want("hci0 Adapter1 Discovering=false")
	filters()
}

// TestPresetFilterGoesWithItsClient: the filter of a client that left is not the next one's.
func TestPresetFilterGoesWithItsClient(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	a := h.client()
	a.call("hci0", "Adapter1.SetDiscoveryFilter", opt("RSSI", int16(-70)))
	a.call("hci0", "Adapter1.SetDiscoveryFilter", options{})
	a.call("hci0", "Adapter1.StartDiscovery")
	check(t, "after {}", h.air[0].Sessions(), []ble.DiscoveryFilter{{}})
	a.call("hci0", "Adapter1.StopDiscovery")
	a.call("hci0", "Adapter1.SetDiscoveryFilter", opt("RSSI", int16(-70)))
	h.leave(a)
	check(t, "sessions", h.shim.Sessions(0), 0)
}

// TestEndOfDiscovery: RSSI and TxPower are invalidated, what cannot be connected to goes at once.
func TestEndOfDiscovery(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	c.want("StartDiscovery: ok", "hci0 Adapter1 Discovering=true")
	beacon := heard(dev2, ble.Advertisement{})
	beacon.Connectable = false
	monitored := heard(0xAABBCCDDEE03, plain("Three"))
	monitored.Discovered, monitored.Monitored = false, true
	h.air[0].Report(t, heard(dev1, rich()), beacon, monitored)
	c.want("+ hci0/dev1", "+ hci0/dev2", "+ hci0/dev3")
	c.send("hci0", "Adapter1.StopDiscovery")
	c.want("StopDiscovery: ok", "hci0/dev1 Device1 -TxPower -RSSI", "hci0/dev2 Device1 -RSSI", "- hci0/dev2",
		"hci0 Adapter1 Discovering=false")
	for _, name := range []string{"RSSI", "TxPower"} {
		check(t, name, c.get("hci0/dev1", "Device1", name), "DBus.Error.InvalidArgs: No such property '"+name+"'")
	}
	check(t, "RSSI of a monitor", c.get("hci0/dev3", "Device1", "RSSI"), "-60")
	c.send("hci0", "Adapter1.StartDiscovery")
	c.want("StartDiscovery: ok", "hci0 Adapter1 Discovering=true")
	h.air[0].Report(t, heard(dev1, rich()))
	c.want("hci0/dev1 Device1 RSSI=-60 TxPower=-4")
}

func TestDevicesExpire(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	h.found(c)
	h.clock.Advance(29 * time.Second)
	c.want()
	h.clock.Advance(time.Second)
	c.want("- hci0/dev1")
	check(t, "peers", h.shim.Peers(), 0)

	// While a client discovers, a device that is heard unchanged stays, though it is not reported.
	c.send("hci0", "Adapter1.StartDiscovery")
	c.lines()
	h.air[0].Report(t, heard(dev1, plain("One")))
	c.want("+ hci0/dev1")
	for range 10 {
		h.clock.Advance(20 * time.Second)
		h.air[0].SetSources(dev1, ble.Source{LastHeard: h.clock.Now()})
		c.want()
	}
	h.clock.Advance(29 * time.Second)
	c.want()
	h.clock.Advance(2 * time.Second)
	c.want("- hci0/dev1")

	// A trusted device goes too (recorded of bluetoothd 5.87, trusted_device_stays), and keeps what was set.
	h.air[0].Report(t, heard(dev1, plain("One")))
	c.set("hci0/dev1", "Device1", "Trusted", true)
	c.lines()
	h.clock.Advance(31 * time.Second)
	c.want("- hci0/dev1")
	bare := heard(dev1, ble.Advertisement{})
	bare.Payloads = nil
	h.air[0].Report(t, bare)
	c.want("+ hci0/dev1")
	check(t, "Trusted", c.get("hci0/dev1", "Device1", "Trusted"), "true")
	check(t, "Name, remembered", c.get("hci0/dev1", "Device1", "Name"), "One")
}

// TestExpiryLooksSeldom: hundreds of devices that end one after another are not looked at hundreds of times.
func TestExpiryLooksSeldom(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	for i := range 100 {
		h.air[0].Report(t, heard(0xAABBCCDD0000+ble.Address(i), plain("x")))
		h.clock.Advance(10 * time.Millisecond)
	}
	c.send("hci0", "Adapter1.StopDiscovery")
	c.lines()
	h.clock.Advance(29 * time.Second) // the first goes
	check(t, "removals", len(c.lines()), 1)
	h.clock.Advance(990 * time.Millisecond)
	c.want()
	h.clock.Advance(10 * time.Millisecond)
	check(t, "removals", len(c.lines()), 99)
	check(t, "timers", h.clock.Timers(), 0)
}

func TestPowerOffEndsDiscovery(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	h.air[0].Report(t, heard(dev1, plain("One")))
	c.lines()
	c.set("hci0", "Adapter1", "Powered", false)
	c.want("- hci0/dev1", "hci0 Adapter1 PowerState=on-disabling", "Set: ok", "hci0 Adapter1 Discovering=false PowerState=off Powered=false")
	check(t, "filters", len(h.air[0].Sessions()), 0)
	h.air[0].Report(t, heard(dev1, plain("One")))
	c.want()
	for _, m := range []string{"StartDiscovery", "StopDiscovery"} {
		_, e := c.call("hci0", "Adapter1."+m)
		check(t, m, e, notReady)
	}
	_, e := c.call("hci0", "Adapter1.SetDiscoveryFilter", options{})
	check(t, "SetDiscoveryFilter", e, notReady)
	_, e = c.call("hci0", "Adapter1.GetDiscoveryFilters")
	check(t, "GetDiscoveryFilters", e, "")
	c.set("hci0", "Adapter1", "Powered", true)
	c.lines()
	check(t, "Discovering", c.get("hci0", "Adapter1", "Discovering"), "false")
	_, e = c.call("hci0", "Adapter1.StopDiscovery")
	check(t, "StopDiscovery", e, noDiscovery)
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	h.do(func() { h.shim.FillSessions(0) })
	c := h.client()
	_, e := c.call("hci0", "Adapter1.StartDiscovery")
	check(t, "one too many", e, busy)
	_, e = c.call("hci0", "Adapter1.SetDiscoveryFilter", opt("RSSI", int16(-70)))
	check(t, "one filter too many", e, busy)
}

func TestAutoConnect(t *testing.T) {
	t.Parallel()
	h := start(t, 1)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	r := heard(dev1, plain("One"))
	r.AutoConnect = true
	h.air[0].Report(t, r)
	op := h.links.Next(t, "Connect")
	h.air[0].Report(t, r)
	c.lines()
	op.End(&ble.ConnectError{Failure: ble.ConnectTimeout})
	c.lines()
	h.air[0].Report(t, r) // once in a discovery
	c.lines()
	h.links.None(t)
}

// TestTwoAdapters: one peripheral under both, one link, RSSI each of its own.
func TestTwoAdapters(t *testing.T) {
	t.Parallel()
	h := start(t, 2)
	c := h.client()
	c.send("hci0", "Adapter1.StartDiscovery")
	c.want("StartDiscovery: ok", "hci0 Adapter1 Discovering=true")
	c.send("hci1", "Adapter1.StartDiscovery")
	c.want("StartDiscovery: ok", "hci1 Adapter1 Discovering=true")
	h.air[0].Report(t, heard(dev1, plain("One")))
	far := heard(dev1, rich())
	far.RSSI = -90
	h.air[1].Report(t, far)
	c.lines()
	check(t, "RSSI", []string{c.get("hci0/dev1", "Device1", "RSSI"), c.get("hci1/dev1", "Device1", "RSSI")}, []string{"-60", "-90"})
	check(t, "Name", c.get("hci0/dev1", "Device1", "Name"), "Ünit")
	check(t, "ManufacturerData", c.get("hci0/dev1", "Device1", "ManufacturerData"), "DBus.Error.InvalidArgs: No such property 'ManufacturerData'")
	c.send("hci1/dev1", "Device1.Connect")
	op := h.links.Next(t, "Connect via proxy1")
	h.shim.LinkUp(dev1, 100)
	op.End(nil)
	c.want("hci0/dev1 Device1 Connected=true", "hci1/dev1 Device1 Connected=true", "Connect: ok")
	c.send("hci0/dev1", "Device1.Connect")
	c.want("Connect: ok")
	h.shim.Resolved(dev1, database(batteryService()), 100)
	h.links.Next(t, "Read 0032").Answer(50)
	h.links.Next(t, "Subscribe 0032").End(nil)
	got := c.lines()
	check(t, "the last lines", got[len(got)-3:], []string{
		"hci1/dev1 Device1 ServicesResolved=true " + got[len(got)-3][len("hci1/dev1 Device1 ServicesResolved=true "):],
		"+ hci0/dev1 Battery1", "+ hci1/dev1 Battery1",
	})
	const char = "/service0030/char0031"
	c.send("hci1/dev1"+char, "GattCharacteristic1.ReadValue", options{})
	h.links.Next(t, "Read 0032").Answer(51)
	c.want("hci0/dev1"+char+" GattCharacteristic1 Value=33", "hci1/dev1"+char+" GattCharacteristic1 Value=33", "ReadValue: ok 33")
	c.send("hci0", "Adapter1.RemoveDevice", fullPath("hci0/dev1")) // the peripheral goes, wherever it is
	h.links.Next(t, "Disconnect")
	h.shim.LinkDown(dev1, ble.DisconnectLocal)
	h.links.Next(t, "Unsubscribe 0032")
	h.links.Next(t, "Forget")
	got = c.lines()
	check(t, "the last lines", got[len(got)-1], "- hci1/dev1")
	check(t, "forgotten", [][]ble.Address{h.air[0].Forgotten(), h.air[1].Forgotten()}, [][]ble.Address{{dev1}, {dev1}})
	check(t, "peers", h.shim.Peers(), 0)
}
