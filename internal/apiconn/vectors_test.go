package apiconn

import (
	"encoding/hex"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"bluez-esphome/internal/ble"
)

// TestVectorAddresses covers the tables of addresses, their types, and of an ESP32's own two.
func TestVectorAddresses(t *testing.T) {
	t.Parallel()
	var v struct {
		Addresses []struct {
			Value  uint64 `json:"uint64"`
			String string `json:"string"`
			Suffix string `json:"dbus_suffix"`
			Varint string `json:"varint_hex"`
		} `json:"addresses"`
		Types []struct {
			Value int    `json:"value"`
			BlueZ string `json:"bluez"`
		} `json:"address_types"`
		MACs []struct{ WiFi, Bluetooth string } `json:"wifi_to_bt_mac"`
	}
	loadVectors(t, &v)
	for _, c := range v.Addresses {
		a := ble.AddressFromWire(c.Value)
		if a.String() != c.String || a.PathElement() != c.Suffix || hex.EncodeToString(protowire.AppendVarint(nil, c.Value)) != c.Varint {
			t.Errorf("%d is %v, %s; want %s, %s", c.Value, a, a.PathElement(), c.String, c.Suffix)
		}
	}
	for _, c := range v.Types {
		if got := ble.AddressType(c.Value).String(); got != c.BlueZ {
			t.Errorf("address type %d is %s, want %s", c.Value, got, c.BlueZ)
		}
	}
	for _, c := range v.MACs {
		m := normalMAC(c.WiFi)
		with := m[:2] + ":" + m[2:4] + ":" + m[4:6] + ":" + m[6:8] + ":" + m[8:10] + ":" + m[10:]
		if got := bluetoothMAC(with, "2025.2.0"); got != c.Bluetooth {
			t.Errorf("Wi-Fi %s gives Bluetooth %s, want %s", with, got, c.Bluetooth)
		}
		if got := bluetoothMAC(with, "2026.10.0"); got != with {
			t.Errorf("newer firmware: %s, want %s", got, with)
		}
	}
	if len(v.Addresses) == 0 || len(v.Types) == 0 || len(v.MACs) == 0 {
		t.Error("vectors are missing")
	}
	t.Logf("covered %d addresses, %d address types, %d pairs of MACs", len(v.Addresses), len(v.Types), len(v.MACs))
}
