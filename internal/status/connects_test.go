package status

import (
	"bluez-esphome/internal/ble"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// heardSample is a report with devices that no program discovers and calls of Connect that failed.
func heardSample() *Report {
	r := &Report{
		Proxies: []Proxy{
			{Name: "attic", State: "online", LastHeard: 990, SlotLimit: 3}, {Name: "kitchen", State: "offline", LastError: "no route"},
			{Name: "shed", State: "offline", LastError: "no route"},
		},
		Devices: []Device{{Address: "AA:00:00:00:00:01", Name: "Lamp", Alias: "Desk", Adapter: "hci0", Sources: []Source{{Proxy: "attic"}}}},
	}
	source := func(proxy string, rssi int16) map[string]dbus.Variant {
		return map[string]dbus.Variant{"Proxy": variant(proxy), "RSSI": variant(rssi), "LastHeard": variant(uint64(990)), "Owner": variant(proxy == "attic")}
	}
	try := map[string]dbus.Variant{
		"Proxy": variant("attic"), "RSSI": variant(int16(-47)), "TookMs": variant(uint64(4100)), "Result": variant("did not answer, or out of reach (0x85)"),
	}
	failed := map[string]dbus.Variant{
		"At": variant(uint64(900)), "Device": variant("AA:00:00:00:00:02"), "Asked": variant([]string{"D-Bus"}), "TookMs": variant(uint64(20000)),
		"SlotWaitMs": variant(uint64(1500)), "Result": variant("no-answer"), "Error": variant("cannot connect: attic: did not answer, or out of reach (0x85)"),
		"Tries": variant([]map[string]dbus.Variant{try}),
	}
	again := map[string]dbus.Variant{"At": variant(uint64(950)), "Device": variant("AA:00:00:00:00:02"), "Result": variant("no-answer"), "Error": variant("cannot connect: nobody heard it")}
	ended := map[string]dbus.Variant{
		"At": variant(uint64(500)), "Device": variant("AA:00:00:00:00:01"), "Result": variant("connected"), "Proxy": variant("attic"), "Link": variant(uint64(3)),
		"Ended": variant(uint64(800)), "Why": variant("attic: link ended: supervision timeout (0x08)"), "Lost": variant(uint64(12)),
	}
	r.takeAir([]map[string]dbus.Variant{
		{"Address": variant("AA:00:00:00:00:01"), "AddressType": variant("random"), "Name": variant("Lamp"), "RSSI": variant(int16(-60)), "LastHeard": variant(uint64(995)),
			"Sources": variant([]map[string]dbus.Variant{source("attic", -60), source("kitchen", -50), source("shed", -70), source("hall", -80), source("cellar", -90)})},
		{"Address": variant("AA:00:00:00:00:02"), "Name": variant("Hallway 42"), "LastHeard": variant(uint64(996)), "LastError": variant("1970-01-01 00:16:00: nobody heard it"),
			"RSSI": variant(int16(-88)), "Sources": variant([]map[string]dbus.Variant{source("attic", -88)})},
		{"Address": variant("AA:00:00:00:00:03"), "LastHeard": variant(uint64(997)), "Sources": variant([]map[string]dbus.Variant{source("shed", -40)})},
	}, []map[string]dbus.Variant{again, failed, ended})
	return r
}

// TestWhyItFailed: what failed is told in the overview once for each device, and with each proxy that was tried by the
// name of a device or a proxy.
func TestWhyItFailed(t *testing.T) {
	now, r := time.Unix(1000, 0), heardSample()
	show := func(name string) string {
		t.Helper()
		var b strings.Builder
		if name == "" {
			r.PrintProxies(&b, now)
			return b.String()
		}
		s, err := r.Select(name)
		if err != nil {
			t.Fatal(err)
		}
		s.PrintSelected(&b, now)
		return b.String()
	}
	for _, c := range []struct{ name, want string }{
		{"", "Hallway 42 AA:00:00:00:00:02: 2 failures within the hour, the last 50s ago:\n  failed at once: nobody heard it\n"},
		{"", "Lamp AA:00:00:00:00:01: 3m ago: connected through attic at once, ended after\n  5m0s: attic: link ended: supervision timeout (0x08); a program lost 12\n  notifications, which it read too slowly\n"},
		{"", "\nkitchen, shed: no route\n"},
		{"hallway 42", "Hallway 42\n  address    AA:00:00:00:00:02\n  state      not connected\n  on the bus no; it comes when a program discovers (bluetoothctl scan le)\n" +
			"  error      1970-01-01 00:16:00: nobody heard it\n"},
		{"AA:00:00:00:00:02", "attic, -47 dBm: did not answer, or out of reach (0x85) after 4.1s\n"},
		{"AA:00:00:00:00:02", "waited 1.5s for a slot (asked by D-Bus)\n"},
		{"attic", "  failed     100s ago, Hallway 42 AA:00:00:00:00:02: -47 dBm: did not answer, or\n             out of reach (0x85) after 4.1s\n"},
		{"Desk", "Lamp\n  address    AA:00:00:00:00:01, random\n"},
	} {
		if got := show(c.name); !strings.Contains(got, c.want) {
			t.Errorf("status %s: %q is not in\n%s", c.name, c.want, got)
		}
	}
	if _, err := r.Select("nobody"); err == nil || !strings.Contains(err.Error(), `no proxy and no device "nobody"; the proxies: attic, kitchen, shed`) {
		t.Errorf("error %v", err)
	}
}

// TestConnectedSince: who is connected now has no trouble, whatever went before.
func TestConnectedSince(t *testing.T) {
	r := heardSample()
	r.Connects = append([]Connect{{At: 990, Device: "AA:00:00:00:00:02", Result: "connected", Proxy: "attic"}}, r.Connects...)
	if got := strings.Join(r.failures(time.Unix(1000, 0)), "\n"); strings.Contains(got, "Hallway") || !strings.Contains(got, "Lamp") {
		t.Errorf("%q", got)
	}
}

// TestSelect: JSON has what the name is about and nothing else.
func TestSelect(t *testing.T) {
	r := heardSample()
	for name, want := range map[string]string{
		"attic":             "attic| Lamp, Hallway 42| 2",
		"shed":              "shed| Lamp, | 0",
		"aa:00:00:00:00:02": "| Hallway 42| 2",
	} {
		s, err := r.Select(name)
		if err != nil {
			t.Fatal(err)
		}
		var heard []string
		for _, h := range s.Heard {
			heard = append(heard, h.Name)
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var form struct{ Proxies, Devices, Heard, Connects []map[string]any }
		if err := json.Unmarshal(b, &form); err != nil || form.Proxies == nil || form.Devices == nil || form.Connects == nil {
			t.Errorf("%v: %s", err, b)
		}
		if got := s.Names() + "| " + strings.Join(heard, ", ") + "| " + string(rune('0'+len(form.Connects))); got != want {
			t.Errorf("status %s --json: %q, want %q", name, got, want)
		}
	}
}

// TestJSON: what is not known is null, and times are RFC 3339.
func TestJSON(t *testing.T) {
	rssi := int16(-60)
	for _, c := range []struct {
		name string
		v    any
		want string
	}{
		{"proxy", Proxy{Name: "p"}, `"last_heard":null,"next_attempt":null`},
		{"proxy", Proxy{Name: "p"}, `"last_error":null,"last_link_error":null,"esphome_version":null,"bluetooth_address":null,"scan_mode":null,"slot_limit":null,"slot_free":null,"note":null}`},
		{"full proxy", Proxy{SlotLimit: 3, LastHeard: 1, ScanMode: "active"}, `"last_heard":"1970-01-01T00:00:01Z"`},
		{"full proxy", Proxy{SlotLimit: 3, LastHeard: 1, ScanMode: "active"}, `"scan_mode":"active","slot_limit":3,"slot_free":0`},
		{"source", Source{Proxy: "p"}, `{"proxy":"p","last_heard":null,"owner":false,"rssi":null,"interval_ms":null}`},
		{"device", Device{}, `"rssi":null`},
		{"device", Device{}, `"name":null,"last_error":null}`},
		{"heard", Heard{RSSI: &rssi, LastHeard: 86400}, `"rssi":-60,"last_heard":"1970-01-02T00:00:00Z"`},
		{"heard", Heard{}, `"address_type":null,"name":null,"last_error":null}`},
		{"link", Link{}, `"since":null`},
		{"connect", Connect{}, `"ended":null`},
		{"connect", Connect{}, `"name":null,"via":null,"result":null,"error":null,"link":null,"proxy":null,"why":null}`},
		{"shared", Shared{}, `"proxy":null,"address":null}`},
		{"controller", Controller{}, `"since":null,`},
		{"controller without a host", Controller{}, `"host":null}`},
		{"host", Host{}, `"has":null,"refused":null}`},
		{"configuration", Configuration{File: "f"}, `"since":null,"restart_keys":null,"problem":null}`},
		{"a daemon without anything", reportOf("b", nil), `{"bus":"b","other_buses":[],"proxies":[],"adapters":[],"devices":[],"heard":[],"connects":[],"shared":[],"controllers":[],"stream":null,"configuration":null}`},
	} {
		b, err := json.Marshal(c.v)
		if err != nil || !strings.Contains(string(b), c.want) {
			t.Errorf("%s: %v: %q is not in %s", c.name, err, c.want, b)
		}
	}
}

// TestDevices: what is heard is listed though no program discovers, in the order and choice that was asked for, no
// wider than the terminal.
func TestDevices(t *testing.T) {
	for _, c := range []struct {
		view DevicesView
		want string
	}{
		{DevicesView{}, "02 01 03"},
		{DevicesView{Sort: "address"}, "01 02 03"},
		{DevicesView{Sort: "rssi"}, "03 01 02"},
		{DevicesView{Sort: "weak"}, "02 01 03"},
		{DevicesView{Sort: "heard"}, "03 02 01"},
		{DevicesView{Proxy: "shed"}, "01 03"},
		{DevicesView{Proxy: "attic", Sort: "rssi"}, "01 02"},
		{DevicesView{Match: "hallway"}, "02"},
		{DevicesView{Match: ":03"}, "03"},
		{DevicesView{OnBus: true, Width: 40}, "01"},
	} {
		var b strings.Builder
		heardSample().PrintDevices(&b, time.Unix(1000, 0), c.view)
		var got []string
		for line := range strings.Lines(b.String()) {
			if f := strings.Fields(line); strings.HasPrefix(line, "AA:00") {
				got = append(got, f[0][15:])
			}
			if n := len([]rune(line)) - 1; c.view.Width > 0 && n > c.view.Width {
				t.Errorf("%d characters: %s", n, line)
			}
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%+v: %s", c.view, diff)
		}
		if c.view == (DevicesView{}) && !strings.Contains(b.String(), "yes  -60   -       kitchen -50 10s, attic* -60 10s, shed -70 10s, +2\n") {
			t.Errorf("the three best are not named:\n%s", b.String())
		}
	}
	for _, c := range []struct{ match, want string }{
		{"kitchen", "none of 3 devices is chosen; for those that a proxy hears: --proxy kitchen\n"},
		{"nobody", "none of 3 devices is chosen; leave out the name or the flags\n"},
	} {
		var b strings.Builder
		heardSample().PrintDevices(&b, time.Unix(1000, 0), DevicesView{Match: c.match})
		if b.String() != c.want {
			t.Errorf("%s: %q", c.match, b.String())
		}
	}
}

// TestDevicesJSON: a device that is asked for has its own connections and no other's.
func TestDevicesJSON(t *testing.T) {
	for _, c := range []struct {
		view                     DevicesView
		heard, devices, connects int
	}{
		{DevicesView{}, 3, 1, 3}, {DevicesView{Match: "hallway"}, 1, 0, 2}, {DevicesView{Match: "lamp"}, 1, 1, 1}, {DevicesView{Proxy: "shed"}, 2, 1, 1},
		{DevicesView{Match: "nobody"}, 0, 0, 0},
	} {
		r := heardSample()
		c.view.Filter(r)
		if len(r.Heard) != c.heard || len(r.Devices) != c.devices || len(r.Connects) != c.connects {
			t.Errorf("%+v: %d heard, %d on the bus, %d connects", c.view, len(r.Heard), len(r.Devices), len(r.Connects))
		}
	}
}

// TestCheck: a monitoring program gets a line and a status.
func TestCheck(t *testing.T) {
	r := heardSample()
	attic, err := r.Select("attic")
	if err != nil {
		t.Fatal(err)
	}
	shed, err := r.Select("shed")
	if err != nil {
		t.Fatal(err)
	}
	broken := *attic
	broken.Configuration = &Configuration{Problem: "line 3"}
	for _, c := range []struct {
		name   string
		r      *Report
		status int
		line   string
	}{
		{"some", r, CheckWarning, "WARNING: 1 of 3 proxies online; kitchen, shed: offline"},
		{"one", attic, CheckOK, "OK: 1 of 1 proxies online"},
		{"none", shed, CheckCritical, "CRITICAL: 0 of 1 proxies online; shed: offline"},
		{"empty", &Report{}, CheckCritical, "CRITICAL: no proxy is configured"},
		{"file", &broken, CheckWarning, "WARNING: 1 of 1 proxies online; the configuration on disk has mistakes"},
	} {
		if status, line := c.r.Check(); status != c.status || line != c.line {
			t.Errorf("%s: %d %q", c.name, status, line)
		}
	}
}

// TestJSONIsDocumented: docs/operations.md names every key.
func TestJSONIsDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Report](), reflect.TypeFor[Proxy](), reflect.TypeFor[Link](), reflect.TypeFor[ble.Lack](), reflect.TypeFor[Adapter](),
		reflect.TypeFor[Device](), reflect.TypeFor[Heard](), reflect.TypeFor[Source](), reflect.TypeFor[Connect](), reflect.TypeFor[Try](), reflect.TypeFor[Configuration](), reflect.TypeFor[Stream](), reflect.TypeFor[Controller]()} {
		for i := range typ.NumField() {
			if key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ","); key != "" && !strings.Contains(string(b), "`"+key+"`") {
				t.Errorf("%s: %s is not documented", typ.Name(), key)
			}
		}
	}
}
