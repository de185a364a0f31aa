package ble_test

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"bluez-esphome/internal/ble"
)

func TestParseNames(t *testing.T) {
	for _, c := range []struct {
		name, raw, want string
		complete        bool
	}{
		{"complete", "03094142", "AB", true},
		{"short", "03084142", "AB", false},
		{"broadcast name alone", "03304142", "AB", true},
		{"broadcast name does not replace a local name", "0330414203084344", "CD", false},
		{"nor before it", "0309434403304142", "CD", true},
		{"short after complete", "0309414203084344", "AB", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := ble.ParseAdvertisement(unhex(t, c.raw))
			if a.Name != c.want || a.NameComplete != c.complete {
				t.Errorf("%q, complete %v", a.Name, a.NameComplete)
			}
			if len(a.Other) != 0 {
				t.Errorf("other %v", a.Other)
			}
		})
	}
}

// Device1.AdvertisingData of bluetoothd 5.87 has these types only, and those not assigned.
func TestParseOther(t *testing.T) {
	hidden := []uint8{0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x14,
		0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x27, 0x28, 0x29, 0x2a, 0x2b,
		0x2d, 0x30, 0x3d, 0xff}
	for typ := 1; typ < 256; typ++ {
		a := ble.ParseAdvertisement([]byte{3, byte(typ), 0xaa, 0xbb})
		if got := len(a.Other) == 1; got == slices.Contains(hidden, uint8(typ)) {
			t.Errorf("type %#02x shown: %v", typ, got)
		}
	}
	a := ble.ParseAdvertisement(unhex(t, "0224010226020224ff"))
	want := []ble.ADStructure{{Type: 0x24, Data: []byte{0xff}}, {Type: 0x26, Data: []byte{2}}}
	if d := cmp.Diff(want, a.Other); d != "" {
		t.Error("the last of a type wins, in its first place:", d)
	}
}

func TestParseCopies(t *testing.T) {
	raw := unhex(t, "05ff4c001001")
	a := ble.ParseAdvertisement(raw)
	clear(raw)
	if got := hex.EncodeToString(a.ManufacturerData[0].Data); got != "1001" || a.Raw[0] != 5 {
		t.Errorf("data %s, raw %x", got, a.Raw)
	}
}

func TestEncodeRuns(t *testing.T) {
	vendor := ble.UUIDFromHalves(1, 2)
	uuids := []ble.UUID{ble.UUID16(0x180f), ble.UUID16(0x180a), vendor, ble.UUID32(0x12345678), ble.UUID16(1)}
	raw := encodeAdvertisement(nil, uuids, nil, nil)
	want := "05030f180a18" + "1107" + "02000000000000000100000000000000" + "050578563412" + "03030100"
	if got := hex.EncodeToString(raw); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got := ble.ParseAdvertisement(raw).ServiceUUIDs; !slices.Equal(got, uuids) {
		t.Errorf("parsed %v", got)
	}
}

func TestEncodeBounds(t *testing.T) {
	big := bytes.Repeat([]byte{1}, 300)
	raw := encodeAdvertisement(big, slices.Repeat([]ble.UUID{ble.UUID16(7)}, 200),
		[]ble.ServiceData{{UUID: ble.UUID16(7), Data: big}, {UUID: ble.UUID16(8), Data: big[:252]}},
		[]ble.ManufacturerData{{Company: 1, Data: big}, {Company: 2, Data: big[:252]}})
	n := 0
	for s := range ble.Structures(raw) {
		n += 2 + len(s.Data)
	}
	if n != len(raw) {
		t.Errorf("%d of %d bytes are well-formed", n, len(raw))
	}
	a := ble.ParseAdvertisement(raw)
	if a.Name != "" || len(a.ServiceData) != 1 || len(a.ManufacturerData) != 1 || len(a.ServiceUUIDs) != 1 {
		t.Errorf("%+v", a)
	}
}

func TestDecodedFormProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 30)
		uuid := rapid.Custom(func(t *rapid.T) ble.UUID {
			switch rapid.IntRange(0, 2).Draw(t, "size") {
			case 0:
				return ble.UUID16(rapid.Uint16().Draw(t, "u16"))
			case 1:
				return ble.UUID32(rapid.Uint32().Draw(t, "u32"))
			}
			return ble.UUIDFromHalves(rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo"))
		})
		uuids := rapid.SliceOfNDistinct(uuid, 0, 20, rapid.ID).Draw(t, "uuids")
		service := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) ble.ServiceData {
			return ble.ServiceData{UUID: uuid.Draw(t, "uuid"), Data: data.Draw(t, "data")}
		}), 0, 4, func(s ble.ServiceData) ble.UUID { return s.UUID }).Draw(t, "service")
		manufacturer := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) ble.ManufacturerData {
			return ble.ManufacturerData{Company: rapid.Uint16().Draw(t, "company"), Data: data.Draw(t, "data")}
		}), 0, 4, func(m ble.ManufacturerData) uint16 { return m.Company }).Draw(t, "manufacturer")
		name := rapid.SliceOfN(rapid.Byte(), 0, 254).Draw(t, "name")

		a := ble.ParseAdvertisement(encodeAdvertisement(name, uuids, service, manufacturer))
		if a.Name != string(name) || !slices.Equal(a.ServiceUUIDs, uuids) {
			t.Fatalf("name %q, UUIDs %v", a.Name, a.ServiceUUIDs)
		}
		if len(a.ServiceData) != len(service) || len(a.ManufacturerData) != len(manufacturer) {
			t.Fatalf("%d service data, %d manufacturers", len(a.ServiceData), len(a.ManufacturerData))
		}
		for i, s := range service {
			if a.ServiceData[i].UUID != s.UUID || !bytes.Equal(a.ServiceData[i].Data, s.Data) {
				t.Fatalf("service data %d: %+v", i, a.ServiceData[i])
			}
		}
		for i, m := range manufacturer {
			if a.ManufacturerData[i].Company != m.Company || !bytes.Equal(a.ManufacturerData[i].Data, m.Data) {
				t.Fatalf("manufacturer %d: %+v", i, a.ManufacturerData[i])
			}
		}
	})
}

func TestStructuresDoNotAllocate(t *testing.T) {
	raw := unhex(t, "02010603030f180c0946726f6d5363616e52737004ff590001")
	n := 0
	if allocs := testing.AllocsPerRun(100, func() {
		for s := range ble.Structures(raw) {
			n += len(s.Data)
		}
	}); allocs != 0 || n == 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func FuzzParseAdvertisement(f *testing.F) {
	for _, s := range []string{"", "020106", "1fff010203", "0300010203096f6b", "010903096f6b",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "02010603030f180c0946726f6d5363616e52737004ff590001"} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		a := ble.ParseAdvertisement(raw)
		if !bytes.Equal(raw, before) || !bytes.Equal(a.Raw, raw) {
			t.Fatal("the input was changed or not kept")
		}
		if s := ble.Summarize(raw); s.Flags != a.Flags || s.HasFlags != a.HasFlags || string(s.Name) != a.Name ||
			s.HasServiceUUIDs != (len(a.ServiceUUIDs) > 0) {
			t.Fatalf("Summarize(%x) = %+v, but it is %+v", raw, s, a)
		}
		used := 0
		for s := range a.Structures() {
			if s.Type == 0 || len(s.Data) == 0 {
				t.Fatalf("structure %+v", s)
			}
			used += 2 + len(s.Data)
		}
		if used > len(raw) {
			t.Fatalf("%d bytes of structures in %d", used, len(raw))
		}
		// What was understood can be said again.
		b := ble.ParseAdvertisement(encodeAdvertisement([]byte(a.Name), a.ServiceUUIDs, a.ServiceData, a.ManufacturerData))
		if len(b.ServiceUUIDs) != len(a.ServiceUUIDs) || len(b.ServiceData) != len(a.ServiceData) ||
			len(b.ManufacturerData) != len(a.ManufacturerData) || b.Name != a.Name {
			t.Fatalf("%+v\nbecame %+v", a, b)
		}
	})
}
