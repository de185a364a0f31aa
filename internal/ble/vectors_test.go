package ble_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/ble"
)

// vectors are what aioesphomeapi, bleak-esphome and habluetooth make of the same input.
type vectors struct {
	UUID struct {
		Halves []struct {
			UUID string
			High uint64
			Low  uint64
		}
		Short []struct {
			Short uint32 `json:"short_uuid"`
			UUID  string
		}
		Decoded []struct {
			In        string
			Reference string
		} `json:"decoded_adv_strings"`
		ShortArrays []json.RawMessage `json:"short_arrays"`
	}
	Addresses []struct {
		Uint64     uint64
		String     string
		DBusSuffix string `json:"dbus_suffix"`
	}
	Advertisements []advVector
	ApplePrefilter []struct {
		Data string `json:"manufacturer_data_hex"`
		Kept bool   `json:"kept_by_habluetooth"`
	} `json:"apple_prefilter"`
}

type advVector struct {
	Label            string
	RawHex           string            `json:"raw_hex"`
	LocalName        *string           `json:"local_name"`
	ServiceUUIDs     []string          `json:"service_uuids"`
	ServiceData      map[string]string `json:"service_data"`
	ManufacturerData map[string]string `json:"manufacturer_data"`
	TxPower          *int              `json:"tx_power"`
	ADStructures     [][2]any          `json:"ad_structures"`
	Flags            *int
	Appearance       *int
}

func loadVectors(t *testing.T) vectors {
	t.Helper()
	b, err := os.ReadFile("../testdata/esphome-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAdvertisementVectors(t *testing.T) {
	all := loadVectors(t).Advertisements
	for _, v := range all {
		t.Run(v.Label, func(t *testing.T) {
			raw := unhex(t, v.RawHex)
			a := ble.ParseAdvertisement(raw)
			checkAgainstVector(t, a, v)

			var got [][2]any
			for s := range a.Structures() {
				got = append(got, [2]any{float64(s.Type), hex.EncodeToString(s.Data)})
			}
			if len(got)+len(v.ADStructures) > 0 {
				if d := cmp.Diff(v.ADStructures, got); d != "" {
					t.Errorf("structures (-want +got):\n%s", d)
				}
			}
			if !bytes.Equal(a.Raw, raw) {
				t.Errorf("Raw = %x", a.Raw)
			}
			checkDecodedForm(t, a)
		})
	}
	if len(all) != 49 {
		t.Errorf("%d advertisement vectors, want 49", len(all))
	}
	t.Logf("advertisements: %d of %d vectors", len(all), len(all))
}

func checkAgainstVector(t *testing.T, a *ble.Advertisement, v advVector) {
	t.Helper()
	wantName := ""
	if v.LocalName != nil {
		wantName = *v.LocalName
	}
	// The reference replaces each bad byte; ours keeps them for the D-Bus face to clean.
	if got := string([]rune(a.Name)); got != wantName {
		t.Errorf("name %q, want %q", got, wantName)
	}
	// The reference repeats a repeated UUID ("duplicate uuids"); Device1.UUIDs is a set.
	var wantUUIDs, uuids []string
	seen := map[string]bool{}
	for _, u := range v.ServiceUUIDs {
		if !seen[u] {
			wantUUIDs = append(wantUUIDs, u)
		}
		seen[u] = true
	}
	for _, u := range a.ServiceUUIDs {
		uuids = append(uuids, u.String())
	}
	if d := cmp.Diff(wantUUIDs, uuids); d != "" {
		t.Errorf("UUIDs (-want +got):\n%s", d)
	}
	serviceData, manufacturer := map[string]string{}, map[string]string{}
	for _, s := range a.ServiceData {
		serviceData[s.UUID.String()] = hex.EncodeToString(s.Data)
	}
	for _, m := range a.ManufacturerData {
		manufacturer[strconv.Itoa(int(m.Company))] = hex.EncodeToString(m.Data)
	}
	if d := cmp.Diff(v.ServiceData, serviceData); d != "" {
		t.Errorf("service data (-want +got):\n%s", d)
	}
	if d := cmp.Diff(v.ManufacturerData, manufacturer); d != "" {
		t.Errorf("manufacturer data (-want +got):\n%s", d)
	}
	switch {
	case v.TxPower == nil:
		if a.HasTxPower || a.TxPower != 0 {
			t.Errorf("TxPower %d (%v), want none", a.TxPower, a.HasTxPower)
		}
	// "tx power +127": the reference shows 127, bluetoothd takes it for "not available".
	case int(a.TxPower) != *v.TxPower || a.HasTxPower != (*v.TxPower != 127):
		t.Errorf("TxPower %d (%v), want %d", a.TxPower, a.HasTxPower, *v.TxPower)
	}
	if a.HasFlags != hasType(v, 1) || v.Flags != nil && int(a.Flags) != *v.Flags {
		t.Errorf("flags %#x (%v), want %v", a.Flags, a.HasFlags, v.Flags)
	}
	if a.HasAppearance != (v.Appearance != nil) || v.Appearance != nil && int(a.Appearance) != *v.Appearance {
		t.Errorf("appearance %d, want %v", a.Appearance, v.Appearance)
	}
	// Of all types in the vectors only URI is shown raw.
	if got := len(a.Other) == 1 && a.Other[0].Type == 0x24; got != hasType(v, 0x24) || len(a.Other) > 1 {
		t.Errorf("other %v", a.Other)
	}
}

func hasType(v advVector, typ float64) bool {
	for _, s := range v.ADStructures {
		if s[0] == typ {
			return true
		}
	}
	return false
}

// checkDecodedForm: what a proxy decoded (message 67 has name, UUIDs, service and manufacturer data) gives
// the same as the raw form.
func checkDecodedForm(t *testing.T, a *ble.Advertisement) {
	t.Helper()
	b := ble.ParseAdvertisement(encodeAdvertisement([]byte(a.Name), a.ServiceUUIDs, a.ServiceData, a.ManufacturerData))
	type decoded struct {
		Name string
		U    []ble.UUID
		S    []ble.ServiceData
		M    []ble.ManufacturerData
	}
	empty := cmp.Transformer("empty", func(b []byte) string { return string(b) })
	if d := cmp.Diff(decoded{a.Name, a.ServiceUUIDs, a.ServiceData, a.ManufacturerData},
		decoded{b.Name, b.ServiceUUIDs, b.ServiceData, b.ManufacturerData}, empty); d != "" {
		t.Errorf("decoded form differs (-raw +decoded):\n%s", d)
	}
}

func TestUUIDVectors(t *testing.T) {
	v := loadVectors(t).UUID
	n := 0
	for _, h := range v.Halves {
		u := ble.UUIDFromHalves(h.High, h.Low)
		if u.String() != h.UUID {
			t.Errorf("halves of %s give %s", h.UUID, u)
		}
		if high, low := u.Halves(); high != h.High || low != h.Low {
			t.Errorf("%s: halves %d, %d", u, high, low)
		}
		n++
	}
	for _, s := range v.Short {
		u := ble.UUID32(s.Short)
		if u.String() != s.UUID {
			t.Errorf("short %#x gives %s, want %s", s.Short, u, s.UUID)
		}
		if got, ok := u.Short(); !ok || got != s.Short {
			t.Errorf("%s: short %#x, %v", u, got, ok)
		}
		n++
	}
	for _, s := range v.Decoded {
		want := s.Reference
		if want == "0x12345678" { // the reference leaves 32-bit strings unexpanded
			want = "12345678-0000-1000-8000-00805f9b34fb"
		}
		if u, err := ble.ParseUUID(s.In); err != nil || u.String() != want {
			t.Errorf("%s gives %s, %v; want %s", s.In, u, err, want)
		}
		n++
	}
	if n != 18 {
		t.Errorf("%d UUID vectors, want 18", n)
	}
	t.Logf("uuid: %d of %d vectors (the %d short_arrays are of the wire decoder)", n, n+len(v.ShortArrays), len(v.ShortArrays))
}

func TestAddressVectors(t *testing.T) {
	all := loadVectors(t).Addresses
	for _, v := range all {
		a := ble.AddressFromWire(v.Uint64 | 0xabcd<<48)
		if a.String() != v.String || a.PathElement() != v.DBusSuffix {
			t.Errorf("%d: %s, %s", v.Uint64, a, a.PathElement())
		}
		if b, err := ble.ParseAddress(v.String); err != nil || b != a {
			t.Errorf("%s parses to %s, %v", v.String, b, err)
		}
	}
	if len(all) != 8 {
		t.Errorf("%d address vectors, want 8", len(all))
	}
	t.Logf("addresses: %d of %d vectors", len(all), len(all))
}

// The reference drops what Apple devices say all the time. BlueZ shows every device, and
// so do we, on purpose.
func TestAppleAdvertsAreKept(t *testing.T) {
	all := loadVectors(t).ApplePrefilter
	dropped := 0
	for _, v := range all {
		data := unhex(t, v.Data)
		a := ble.ParseAdvertisement(append([]byte{byte(3 + len(data)), 0xff, 0x4c, 0x00}, data...))
		if len(a.ManufacturerData) != 1 || a.ManufacturerData[0].Company != 76 || !bytes.Equal(a.ManufacturerData[0].Data, data) {
			t.Errorf("%s: %+v", v.Data, a.ManufacturerData)
		}
		if !v.Kept {
			dropped++
		}
	}
	if len(all) != 10 || dropped != 5 {
		t.Errorf("%d vectors, %d dropped by the reference; want 10, 5", len(all), dropped)
	}
	t.Logf("apple_prefilter: %d of %d vectors, the %d that habluetooth drops kept on purpose", len(all), len(all), dropped)
}
