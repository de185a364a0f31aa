package status

import (
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

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

// What was never online says nothing of features; what is on the proxies is named as on the bus.
func TestReportOf(t *testing.T) {
	link := map[string]dbus.Variant{
		"Address": variant("AA:BB:CC:DD:EE:FF"), "State": variant("connected"), "Since": variant(uint64(9)), "Owners": variant([]string{"D-Bus"}),
	}
	r := reportOf("unix:path=/b", map[dbus.ObjectPath]map[string]map[string]dbus.Variant{
		"/bluez_esphome/proxy/a": {"org.bluez_esphome.Proxy1": {
			"Name": variant("a"), "ESPHomeVersion": variant("2026.10.0"), "Features": variant([]string{"PASSIVE_SCAN"}),
			"Links": variant([]map[string]dbus.Variant{link, {"Address": variant(7)}}),
		}},
		"/bluez_esphome/proxy/b":                {"org.bluez_esphome.Proxy1": {"Name": variant("b")}},
		"/org/bluez/hci0/dev_AA_BB_CC_DD_EE_FF": {"org.bluez.Device1": {"Address": variant("AA:BB:CC:DD:EE:FF"), "Name": variant("n"), "Alias": variant("lamp")}},
	})
	want := []Link{{Address: "AA:BB:CC:DD:EE:FF", Name: "lamp", State: "connected", Since: 9, Owners: []string{"D-Bus"}}, {Owners: []string{}}}
	if diff := cmp.Diff(want, r.Proxies[0].Links); diff != "" {
		t.Error(diff)
	}
	if len(r.Proxies[0].Missing) == 0 || len(r.Proxies[1].Missing) != 0 {
		t.Errorf("%+v", r.Proxies)
	}
}
