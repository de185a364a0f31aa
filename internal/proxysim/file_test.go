package proxysim

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bluez-esphome/internal/ble"
)

func TestParsePeripherals(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"golden", string(must(os.ReadFile("testdata/golden-peripheral.json"))), "main beacon"},
		{"demo", string(demoFile), "pulse thermo lock ruuvi ibeacon bthome eddystone"},
		{"unknown fields", `{"devices":[{"address":"00:00:00:00:00:01","future":{}}],"x":1}`, "device0"},
		{"no JSON", `{`, "error: unexpected end of JSON input"},
		{"address", `{"devices":[{"address":"1"}]}`, "error: want AA:BB"},
		{"twice", `{"devices":[{"id":"a","address":"00:00:00:00:00:01"},{"id":"b","address":"00:00:00:00:00:01"}]}`, "error: twice"},
		{"hexadecimal", `{"devices":[{"address":"00:00:00:00:00:01","advertisement":{"raw_advertisement":"0"}}]}`, "error: odd length"},
		{"too long", `{"devices":[{"address":"00:00:00:00:00:01","advertisement":{"raw_advertisement":"` + strings.Repeat("00", 32) + `"}}]}`, "error: 31 each"},
		{"type", `{"devices":[{"address":"00:00:00:00:00:01","address_type":"odd"}]}`, "error: neither public nor random"},
		{"company", `{"devices":[{"address":"00:00:00:00:00:01","advertisement":{"manufacturer_data":{"0x4c":""}}}]}`, "error: decimal number"},
		{"service data", `{"devices":[{"address":"00:00:00:00:00:01","advertisement":{"service_data":{"?":""}}}]}`, "error: UUID"},
		{"property", gattFile(`"properties":["sing"]`), `error: property "sing"`},
		{"security", gattFile(`"security":"magic"`), `error: security "magic"`},
		{"handles", gattFile(`"handle":3,"value_handle":2`), "error: handle 2 does not follow 3"},
		{"long value", gattFile(`"value":"` + strings.Repeat("00", 513) + `"`), "error: longer than 512"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			specs, err := ParsePeripherals([]byte(tt.file))
			if want, ok := strings.CutPrefix(tt.want, "error: "); ok {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want …%s…", err, want)
				}
				return
			}
			var ids []string
			for _, s := range specs {
				ids = append(ids, s.ID)
			}
			if got := strings.Join(ids, " "); got != tt.want || err != nil {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func gattFile(char string) string {
	return `{"devices":[{"address":"00:00:00:00:00:01","gatt":{"services":[{"uuid":"180d","characteristics":[{"uuid":"2a37",` +
		char + `}]}]}}]}`
}

func FuzzParsePeripherals(f *testing.F) {
	// Small seeds: the fuzzer is slow with files as long as the golden one.
	f.Add([]byte(gattFile(`"handle":65535`)))
	f.Add([]byte(gattFile(`"properties":["read","notify"],"security":"encryption","value":"00","notify_every_ms":1,"descriptors":[{"uuid":"2902"}]`)))
	f.Add([]byte(`{"devices":[{"id":"a","address":"00:00:00:00:00:01","rssi":{"*":-1},"advertisement":{"local_name":"x","flags":6,"frames":[{"raw_advertisement":"00"}]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		specs, err := ParsePeripherals(data)
		if err != nil {
			return
		}
		if _, err := NewAir(specs); err != nil {
			t.Errorf("parsed, but: %v", err)
		}
	})
}

func TestBuiltPayloads(t *testing.T) {
	for _, d := range goldenSpecs(t) {
		t.Run(d.ID, func(t *testing.T) {
			adv, rsp, err := d.Advert.payload()
			if err != nil {
				t.Fatal(err)
			}
			built := d.Advert
			built.RawAdvertisement, built.RawScanResponse = nil, nil
			badv, brsp, err := built.payload()
			if err != nil {
				t.Fatal(err)
			}
			want := ble.ParseAdvertisement(append(append([]byte{}, adv...), rsp...))
			got := ble.ParseAdvertisement(append(append([]byte{}, badv...), brsp...))
			want.Raw, got.Raw = nil, nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("built from fields (-raw +built):\n%s", diff)
			}
		})
	}
	long := AdvertSpec{LocalName: strings.Repeat("n", 40), ServiceUUIDs: []ble.UUID{ble.UUID32(0x12345678)}}
	adv, rsp, err := long.payload()
	if got := hex.EncodeToString(adv) + " " + string(rsp); err != nil || got != "050578563412 \x1e\x08"+strings.Repeat("n", 29) {
		t.Errorf("long name: %q, %v", got, err)
	}
}

func TestDemoPeripherals(t *testing.T) {
	specs, err := DemoPeripherals()
	if err != nil {
		t.Fatal(err)
	}
	heard := map[string]int{}
	for _, d := range specs {
		for p := range d.RSSI {
			heard[p]++
		}
		for i, f := range append([]FrameSpec{{}}, d.Advert.Frames...) {
			adv, rsp := f.RawAdvertisement, f.RawScanResponse
			if i == 0 {
				if len(d.Advert.Frames) > 0 {
					continue
				}
				a, r, err := d.Advert.payload()
				if err != nil {
					t.Fatal(err)
				}
				adv, rsp = a, r
			}
			p := ble.ParseAdvertisement(append(append([]byte{}, adv...), rsp...))
			if p.Name != d.Name {
				t.Errorf("%s advertises the name %q", d.ID, p.Name)
			}
		}
	}
	if diff := cmp.Diff(map[string]int{"kitchen": 5, "garage": 6, "*": 7}, heard); diff != "" {
		t.Error(diff)
	}
}

func TestParseProxySpec(t *testing.T) {
	psk := base64.StdEncoding.EncodeToString(make([]byte, 31)) // 31 bytes
	good := base64.StdEncoding.EncodeToString(append(make([]byte, 31), 7))
	tests := []struct{ in, want string }{
		{"kitchen=127.0.0.1:6053", "kitchen 127.0.0.1:6053"},
		{"kitchen=127.0.0.1:0,slots=2", "kitchen 127.0.0.1:0 slots 2"},
		{"k=[::1]:6053,features=0x3f,version=2024.10.0", "k [::1]:6053 features 0x3f version 2024.10.0"},
		{"k=:6053,features=7F,passive,password=x=y", "k :6053 features 0x7f passive password x=y"},
		{"k=:6053,psk=" + good, "k :6053 psk 7"},
		{"", "does not begin with a name"},
		{"kitchen", "does not begin with a name"},
		{"=127.0.0.1:1", "does not begin with a name"},
		{"k=127.0.0.1", "missing port"},
		{"k=127.0.0.1:http", "is not a number"},
		{"k=127.0.0.1:66000", "is not a number"},
		{strings.Repeat("k", 32) + "=:1", "longer than 31"},
		{"k=:1,psk=" + psk, "base64 of 32 bytes"},
		{"k=:1,psk", "base64 of 32 bytes"},
		{"k=:1,slots=0", "from 1 to 9"},
		{"k=:1,slots=10", "from 1 to 9"},
		{"k=:1,features=xyz", "hexadecimal"},
		{"k=:1,version=new", "YEAR.MONTH"},
		{"k=:1,colour=red", `option "colour"`},
		{"k=:1,profile=toaster", "esp32, ln882h"},
		{"k=:1,slots=2,profile=rp2040,version=2026.6.5", "k :1 slots 2 features 0xef version 2026.6.5 as RP2040"},
		{"k=:1,profile=rp2040", "k :1 slots 1 features 0xef as RP2040"},
		{"k=:1,profile=ln882h", "k :1 features 0x21 as LN882X"},
		{"k=:1,sleep=45s", "two times"},
		{"k=:1,sleep=45s/0s", "two times"},
		{"k=:1,sleep=45s/1m30s", "k :1 sleep 1m30s"},
		{"k=:1,keyless=soon", "not a time"},
		{"k=:1,keyless=5m", "k :1 keyless 5m0s"},
		{"k=:1,keyless", "k :1 keyless 0s"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			s, err := ParseProxySpec(tt.in)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), psk) {
					t.Errorf("got %v, want …%s…", err, tt.want)
				}
				return
			}
			got := s.Name + " " + s.Listen
			if s.Slots != 0 {
				got += fmt.Sprint(" slots ", s.Slots)
			}
			if s.Features != 0 {
				got += fmt.Sprintf(" features %#x", uint32(s.Features))
			}
			if s.Version != "" {
				got += " version " + s.Version
			}
			if s.Passive {
				got += " passive"
			}
			if s.Password != "" {
				got += " password " + s.Password
			}
			if s.PSK != nil {
				got += fmt.Sprint(" psk ", s.PSK[31])
			}
			if s.Platform != "" {
				got += " as " + s.Platform
			}
			if s.Sleep.Asleep != 0 {
				got += fmt.Sprint(" sleep ", s.Sleep.Asleep)
			}
			if s.Unprovisioned {
				got += fmt.Sprint(" keyless ", s.ProvisioningWindow)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzParseProxySpec(f *testing.F) {
	f.Add("kitchen=127.0.0.1:6053,psk=AAAA,slots=2,features=ff,version=2026.1,passive")
	f.Fuzz(func(t *testing.T, s string) {
		if spec, err := ParseProxySpec(s); err == nil && (spec.Name == "" || spec.Listen == "") {
			t.Errorf("%q gives %+v", s, spec)
		}
	})
}

func TestFirmware(t *testing.T) {
	tests := []struct {
		version        string
		minor          uint32
		active, silent ble.Features
		legacy         uint32
	}{
		{"2022.8.0", 6, 0, 0, 1},
		{"2022.12.3", 7, 0, 0, 3},
		{"2023.6.0", 9, 0x3f, 0x21, 5},
		{"2024.10.1", 10, 0x3f, 0x21, 5},
		{"2025.5.0", 10, 0x7f, 0x61, 5},
		{"2026.1.0", 14, 0x7f, 0x61, 0},
		{"2026.3.0", 14, 0xff, 0x61, 0},
		{"2026.10.0", 19, 0xff, 0x61, 0},
	}
	for _, tt := range tests {
		fw, err := parseFirmware(tt.version)
		got := fmt.Sprint(fw.apiMinor(), fw.features(true), fw.features(false), fw.legacyVersion(true))
		if want := fmt.Sprint(tt.minor, tt.active, tt.silent, tt.legacy); got != want || err != nil {
			t.Errorf("%s: got %s, %v; want %s", tt.version, got, err, want)
		}
	}
}

// TestFormatIsDocumented: docs/simulate.md tells of every key of a peripheral file, and its example is one.
func TestFormatIsDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "simulate.md"))
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	var walk func(reflect.Type)
	seen := map[reflect.Type]bool{}
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			if key := f.Tag.Get("json"); key != "" && !strings.Contains(doc, "`"+key+"`") {
				t.Errorf("%s is not documented", key)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[fileDoc]())
	_, example, _ := strings.Cut(doc, "```json\n")
	example, _, _ = strings.Cut(example, "```")
	if devices, err := ParsePeripherals([]byte(example)); err != nil || len(devices) != 1 || len(devices[0].GATT.Services) != 1 {
		t.Errorf("the example: %v", err)
	}
}
