package tests

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"

	"bluez-esphome/internal/ble"
)

// vectorGroups names the package that tests each group of the native API's vectors; scripts/vectors.sh prints how many
// of them it covers.
var vectorGroups = map[string]string{
	"meta":                          "of the file itself",
	"messages":                      "apiwire, apiserver",
	"skip_rules":                    "apiwire",
	"framing":                       "apiwire",
	"noise":                         "apiwire",
	"uuid":                          "ble, apiconn",
	"addresses":                     "ble",
	"address_types":                 "tests, below",
	"wifi_to_bt_mac":                "nobody: what a proxy does not say of its radio is not guessed",
	"feature_flags_compat":          "apiconn",
	"advertisements":                "ble",
	"apple_prefilter":               "ble",
	"gatt_errors":                   "apiconn",
	"golden_session_bleak_esphome":  "apiwire, apiconn, apiserver",
	"habluetooth_arbitration":       "scanner",
	"habluetooth_connection_scores": "gatt",
	"habluetooth_merge":             "scanner",
	"reconnect_backoff_seconds":     "apiconn, where ours differs by design",
}

// TestVectorGroups: a group that no package tests is not skipped silently but fails here.
func TestVectorGroups(t *testing.T) {
	data, err := os.ReadFile("../internal/testdata/esphome-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(file)) {
		if vectorGroups[name] == "" {
			t.Errorf("no test covers the group %s", name)
		}
	}
	t.Logf("%d groups accounted for", len(file))

	var types []struct {
		Value ble.AddressType `json:"value"`
		BlueZ string          `json:"bluez"`
	}
	if err := json.Unmarshal(file["address_types"], &types); err != nil || len(types) == 0 {
		t.Fatalf("address_types: %v", err)
	}
	for _, c := range types {
		if got := c.Value.String(); got != c.BlueZ {
			t.Errorf("address type %d is %s, want %s", c.Value, got, c.BlueZ)
		}
	}
	t.Logf("covered %d address types", len(types))
}
