package tests

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
)

// Forms that clients rely on: they cut paths at fixed offsets, assert types, and compare texts.
var (
	nodePaths = regexp.MustCompile(`^(/org/bluez|/org/bluez/hci[0-8]|` +
		`/org/bluez/hci[0-8]/dev(_[0-9A-F]{2}){6}(/service[0-9a-f]{4}(/char[0-9a-f]{4}(/desc[0-9a-f]{4})?)?)?|/bluez_esphome/.*)$`)
	uuidForm    = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	addressForm = regexp.MustCompile(`^([0-9A-F]{2}:){5}[0-9A-F]{2}$`)
	usbForm     = regexp.MustCompile(`^usb:v[0-9A-F]{4}p[0-9A-F]{4}d[0-9A-F]{4}$`)
	knownFlag   = regexp.MustCompile(`^(broadcast|read|write-without-response|write|notify|indicate|authenticated-signed-writes|extended-properties|reliable-write|writable-auxiliaries)$`)
)

// mandatory are the properties, with their types, that clients read without checking that they exist.
var mandatory = map[string]map[string]string{
	adapterIface: {"Address": "s", "AddressType": "s", "Name": "s", "Alias": "s", "Class": "u", "Powered": "b", "Discoverable": "b", "DiscoverableTimeout": "u",
		"Pairable": "b", "PairableTimeout": "u", "Discovering": "b", "UUIDs": "as", "Modalias": "s", "Roles": "as"},
	deviceIface: {"Address": "s", "AddressType": "s", "Alias": "s", "Paired": "b", "Bonded": "b", "Trusted": "b", "Blocked": "b", "LegacyPairing": "b",
		"Connected": "b", "UUIDs": "as", "Adapter": "o", "ServicesResolved": "b"},
	"org.bluez.GattService1":    {"Handle": "q", "UUID": "s", "Device": "o", "Primary": "b", "Includes": "ao"},
	charIface:                   {"Handle": "q", "UUID": "s", "Service": "o", "Value": "ay", "Flags": "as", "MTU": "q"},
	"org.bluez.GattDescriptor1": {"Handle": "q", "UUID": "s", "Characteristic": "o", "Value": "ay"},
}

// parentProperty names the object above it.
var parentProperty = map[string]string{
	deviceIface: "Adapter", "org.bluez.GattService1": "Device", charIface: "Service", "org.bluez.GattDescriptor1": "Characteristic",
}

// TestTree looks at every object of a tree with connected and unconnected devices.
func TestTree(t *testing.T) {
	t.Parallel()
	c := newClient(t, harness.Demo(t))
	c.Call(adapterPath, adapterIface+".StartDiscovery")
	c.until("all devices of the demo", func(*dbus.Signal) bool {
		n := 0
		for _, ifaces := range c.Objects() {
			if ifaces[deviceIface] != nil {
				n++
			}
		}
		return n == 7
	})
	c.connect(pulsePath)
	c.until("the battery, which comes last", func(*dbus.Signal) bool { return c.Objects()[pulsePath]["org.bluez.Battery1"] != nil })
	c.Call(adapterPath, adapterIface+".StopDiscovery") // so that no object comes or goes for a while
	objects := c.Objects()
	properties := 0
	for path, ifaces := range objects {
		if !nodePaths.MatchString(string(path)) {
			t.Errorf("a client may stumble over %s", path)
		}
		for iface, wants := range mandatory {
			props, there := ifaces[iface]
			if !there {
				continue
			}
			properties += len(props)
			for name, signature := range wants {
				if v, ok := props[name]; !ok || v.Signature().String() != signature {
					t.Errorf("%s %s.%s: %v, want a value of type %s", path, iface, name, v, signature)
				}
			}
			checkForms(t, path, iface, props)
			if name := parentProperty[iface]; name != "" {
				above := path[:strings.LastIndexByte(string(path), '/')]
				if props[name].Value() != above || objects[above] == nil {
					t.Errorf("%s: %s is %v", path, name, props[name])
				}
			}
		}
	}
	introspected := map[dbus.ObjectPath][]string{}
	introspectAll(t, c, "/", introspected)
	for path, ifaces := range objects {
		var names []string
		for iface := range ifaces {
			names = append(names, iface)
		}
		slices.Sort(names)
		if !slices.Equal(introspected[path], names) {
			t.Errorf("%s: introspection shows %q, GetManagedObjects %q", path, introspected[path], names)
		}
	}
	for path, names := range introspected {
		if path != "/" && len(names) > 0 && objects[path] == nil {
			t.Errorf("%s is introspected with %q, but GetManagedObjects has it not", path, names)
		}
	}
	if len(objects) < 30 || properties < 200 {
		t.Errorf("only %d objects with %d properties", len(objects), properties)
	}
	t.Logf("%d objects, %d properties, %d nodes", len(objects), properties, len(introspected))
}

// checkForms checks the values that have a form of their own.
func checkForms(t *testing.T, path dbus.ObjectPath, iface string, props map[string]dbus.Variant) {
	t.Helper()
	bad := func(name string) { t.Errorf("%s %s.%s = %v", path, iface, name, props[name]) }
	if v, ok := props["UUID"]; ok && !uuidForm.MatchString(v.Value().(string)) {
		bad("UUID")
	}
	if v, ok := props["Address"]; ok && !addressForm.MatchString(v.Value().(string)) {
		bad("Address")
	}
	if v, ok := props["Handle"]; ok && !strings.HasSuffix(string(path), fmt.Sprintf("%04x", v.Value())) {
		bad("Handle")
	}
	if v, ok := props["UUIDs"]; ok {
		for _, u := range v.Value().([]string) {
			if !uuidForm.MatchString(u) {
				bad("UUIDs")
			}
		}
	}
	if v, ok := props["Flags"]; ok {
		flags := v.Value().([]string)
		for _, f := range flags {
			if !knownFlag.MatchString(f) {
				bad("Flags")
			}
		}
		notify, indicate := slices.Contains(flags, "notify"), slices.Contains(flags, "indicate")
		for name, want := range map[string]bool{"Notifying": notify || indicate, "NotifyAcquired": notify, "WriteAcquired": slices.Contains(flags, "write-without-response")} {
			if _, ok := props[name]; ok != want {
				t.Errorf("%s with %q: %s there is %v", path, flags, name, ok)
			}
		}
	}
	switch iface {
	case adapterIface:
		if !usbForm.MatchString(props["Modalias"].Value().(string)) {
			bad("Modalias")
		}
	case deviceIface:
		address := props["Address"].Value().(string)
		if !strings.HasSuffix(string(path), "/dev_"+strings.ReplaceAll(address, ":", "_")) {
			bad("Address")
		}
		if name, ok := props["Name"]; ok && props["Alias"] != name || !ok && props["Alias"].Value() != strings.ReplaceAll(address, ":", "-") {
			bad("Alias")
		}
		for _, data := range []string{"ManufacturerData", "ServiceData"} {
			checkData(t, path, data, props[data].Value())
		}
		if v, ok := props["AdvertisingFlags"]; ok && len(v.Value().([]byte)) != 1 {
			bad("AdvertisingFlags")
		}
	}
}

// checkData checks that the values are variants of bytes.
func checkData(t *testing.T, path dbus.ObjectPath, name string, v any) {
	t.Helper()
	var inner []dbus.Variant
	switch v := v.(type) {
	case nil:
	case map[uint16]dbus.Variant:
		for _, x := range v {
			inner = append(inner, x)
		}
	case map[string]dbus.Variant:
		for k, x := range v {
			inner = append(inner, x)
			if !uuidForm.MatchString(k) {
				t.Errorf("%s %s has the key %q", path, name, k)
			}
		}
	default:
		t.Errorf("%s %s is a %T", path, name, v)
	}
	for _, x := range inner {
		if x.Signature().String() != "ay" {
			t.Errorf("%s %s holds %s", path, name, x.Signature())
		}
	}
}

// introspectAll walks the tree by introspection alone, as some clients do.
func introspectAll(t *testing.T, c *client, path dbus.ObjectPath, out map[dbus.ObjectPath][]string) {
	t.Helper()
	var text string
	if err := c.Call(path, "org.freedesktop.DBus.Introspectable.Introspect").Store(&text); err != nil {
		t.Fatal(err)
	}
	var node struct {
		Interfaces []struct {
			Name string `xml:"name,attr"`
		} `xml:"interface"`
		Nodes []struct {
			Name string `xml:"name,attr"`
		} `xml:"node"`
	}
	if err := xml.Unmarshal([]byte(text), &node); err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, i := range node.Interfaces {
		names = append(names, i.Name)
	}
	slices.Sort(names)
	out[path] = names
	for _, n := range node.Nodes {
		introspectAll(t, c, dbus.ObjectPath(strings.TrimSuffix(string(path), "/")+"/"+n.Name), out)
	}
}
