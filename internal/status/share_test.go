package status

import (
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

func TestSharedOf(t *testing.T) {
	type dict = map[string]dbus.Variant
	got := sharedOf(dict{"Proxies": variant([]dict{
		{"Name": variant("kitchen-shared"), "Proxy": variant(dbus.ObjectPath("/p/k")), "Address": variant("[::]:16053"), "Encrypted": variant(true),
			"Batches": variant(uint64(9)), "Dropped": variant(uint64(1)), "Hosts": variant([]dict{
				{"Name": variant("ha"), "Address": variant("10.0.0.2:5"), "Since": variant(uint64(7)), "Subscribed": variant(true), "Batches": variant(uint64(8)),
					"Dropped": variant(uint64(1)), "DroppedValues": variant(uint64(2)), "Has": variant("both"), "Refused": variant("why"), "ToDevice": variant(uint64(3)),
					"FromDevice": variant(uint64(4)), "Links": variant([]string{"AA:BB:CC:DD:EE:FF"})},
			})},
		{"Name": variant(7)}, // of another daemon
	})}, map[dbus.ObjectPath]string{"/p/k": "kitchen"})
	want := []Shared{{Hosts: []Host{}}, {
		Name: "kitchen-shared", Proxy: "kitchen", Address: "[::]:16053", Encrypted: true, Batches: 9, Dropped: 1,
		Hosts: []Host{{Name: "ha", Address: "10.0.0.2:5", Since: 7, Subscribed: true, Batches: 8, Dropped: 1, DroppedValues: 2, Has: "both", Refused: "why", ToDevice: 3, FromDevice: 4, Links: []string{"AA:BB:CC:DD:EE:FF"}}},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := sharedOf(nil, nil); len(got) != 0 || got == nil {
		t.Errorf("nothing is shared: %v", got)
	}
}

func TestPrintShared(t *testing.T) {
	r := &Report{
		Proxies: []Proxy{{Name: "a", Note: "mind that"}, {Name: "b"}, {Name: "c", Note: "mind that"}},
		Shared: []Shared{
			{Name: "a-shared", Address: "0.0.0.0:1", Hosts: []Host{
				{Name: "ha", Address: "10.0.0.2:5", Since: 990, Has: "Bluetooth", Refused: "the device takes no further API client", Batches: 8, Dropped: 1, Links: []string{"AA:BB:CC:DD:EE:FF"}}, {Name: "second", Since: 999},
			}},
			{Name: "b-shared", Address: "0.0.0.0:2", Encrypted: true},
			{Name: "c-shared"},
		},
	}
	var out strings.Builder
	r.PrintProxies(&out, time.Unix(1000, 0))
	for _, want := range []string{
		"\na-shared   ha      10.0.0.2  10s    Bluetooth  8        1     1\n",
		"\nha has no entities of a-shared: the device takes no further API client\n",
		"\n           second",
		"\nb-shared   nobody\n",
		"\nc-shared   cannot listen yet; the log says why\n",
		"\nnote on a, c: mind that\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestPrintSharing(t *testing.T) {
	r := &Report{
		Proxies: []Proxy{{Name: "a", State: "online"}, {Name: "b"}, {Name: "c"}},
		Shared: []Shared{
			{Name: "everything"},
			{Name: "a-shared", Proxy: "a", Address: "0.0.0.0:1", Hosts: []Host{{Name: "ha", Address: "10.0.0.2:5", Since: 990, Has: "both"}, {Name: "hb", Address: "h"}}},
			{Name: "b-shared", Proxy: "b", Address: "0.0.0.0:2"},
			{Name: "c-shared", Proxy: "c"},
		},
	}
	for name, want := range map[string]string{
		"a": "\n  shared     as a-shared (0.0.0.0:1) with ha (10.0.0.2:5) for 10s (both), hb (h)\n             for - (-)\n",
		"b": "\n  shared     as b-shared (0.0.0.0:2) with nobody yet\n",
		"c": "\n  shared     as c-shared: cannot listen yet; the log says why\n",
	} {
		var out strings.Builder
		if !r.PrintProxy(&out, time.Unix(1000, 0), name) || !strings.HasSuffix(out.String(), want) {
			t.Errorf("%q does not end with %q", out.String(), want)
		}
	}
}
