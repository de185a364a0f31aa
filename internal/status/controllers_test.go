package status

import (
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// TestControllers: what org.bluez_esphome.Controllers1 says, as it is shown.
func TestControllers(t *testing.T) {
	t.Parallel()
	variants := func(kv ...any) map[string]dbus.Variant {
		out := map[string]dbus.Variant{}
		for i := 0; i < len(kv); i += 2 {
			out[kv[i].(string)] = dbus.MakeVariant(kv[i+1])
		}
		return out
	}
	r := &Report{Proxies: []Proxy{{Name: "a", State: "online"}}, Controllers: controllersOf(variants("Controllers", []map[string]dbus.Variant{
		variants("Name", "vhci", "Address", "02:E5:50:00:00:01", "Host", "the kernel", "Since", uint64(990), "Scanning", true, "Active", true,
			"Connecting", true, "Links", []string{"AA:BB:CC:DD:EE:FF"}, "Reports", uint64(50), "Dropped", uint64(6)),
		variants("Name", "pty:/x", "Address", "02:E5:50:00:00:02", "Lost", uint64(2)),
	}))}
	want := []Controller{
		{Name: "pty:/x", Address: "02:E5:50:00:00:02", Scanning: "off", Links: []string{}, Lost: 2},
		{Name: "vhci", Address: "02:E5:50:00:00:01", Host: "the kernel", Since: 990, Scanning: "active", Connecting: true,
			Links: []string{"AA:BB:CC:DD:EE:FF"}, Reports: 50, Dropped: 6},
	}
	if diff := cmp.Diff(want, r.Controllers); diff != "" {
		t.Error(diff)
	}
	var out strings.Builder
	r.PrintProxies(&out, time.Unix(1000, 0))
	for _, want := range []string{
		"\npty:/x      02:E5:50:00:00:02  no host     off     0        0     0\n",
		"\nvhci        02:E5:50:00:00:01  10s         active  50       6     1+1\n",
		"\npty:/x: what a host sent was no Bluetooth traffic (times: 2); is it another\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}
