package beacon

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"bluez-esphome/internal/ble"
)

// vectors are random payloads and what ruuvitag-sensor 4.1.0 and bthome-ble 3.25.0 say of them.
type vectors struct {
	Ruuvi []struct {
		Data   string
		Values map[string]float64
	}
	BTHome []struct {
		Data    string
		Numbers []float64
		Binary  []bool
	}
}

func load(t *testing.T) (v vectors) {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil || len(v.Ruuvi) < 70 || len(v.BTHome) < 150 {
		t.Fatalf("%v: %d, %d vectors", err, len(v.Ruuvi), len(v.BTHome))
	}
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// closeTo: two decoders round to different digits.
func closeTo(a, b, within float64) bool {
	return math.Abs(a-b) <= within*(1+1e-9) || math.Abs(a-b) < 1e-4*math.Abs(b)
}

// TestRuuvi: another decoder reads the same values.
func TestRuuvi(t *testing.T) {
	for _, c := range load(t).Ruuvi {
		got := ruuvi(unhex(t, c.Data))
		read := func(name, unit string) (float64, bool) {
			m := regexp.MustCompile(`\b` + name + ` (-?[0-9.]+)` + unit + `(,|$)`).FindStringSubmatch(got)
			if m == nil {
				return 0, false
			}
			v, err := strconv.ParseFloat(m[1], 64)
			return v, err == nil
		}
		n := 0
		for key, name := range map[string][3]string{
			"temperature": {"temperature", " °C", ".006"}, "humidity": {"humidity", " %", ".01"}, "pressure": {"pressure", " hPa", ".01"},
			"tx_power": {"TX power", " dBm", "0"}, "movement_counter": {"movements", "", "0"}, "co2": {"CO₂", " ppm", "0"}, "voc": {"VOC index", "", "0"},
			"nox": {"NOx index", "", "0"}, "pm_2_5": {"PM2.5", " µg/m³", "0"}, "luminosity": {"light", " lx", ".01"}, "measurement_sequence_number": {"measurement", "", "0"},
		} {
			want, ok := c.Values[key]
			if !ok || key == "movement_counter" && want == 255 { // which the documentation says is not valid
				continue
			}
			n++
			within, _ := strconv.ParseFloat(name[2], 64)
			if v, ok := read(name[0], name[1]); !ok || !closeTo(v, want, within) {
				t.Errorf("%s: %s is not %v in %q", c.Data, key, want, got)
			}
		}
		if mv, ok := c.Values["battery"]; ok {
			if v, ok := read("battery", " V"); !ok || !closeTo(v*1000, mv, .5) {
				t.Errorf("%s: the battery is not %v mV in %q", c.Data, mv, got)
			}
		}
		if n < 3 {
			t.Errorf("%s: %d values were looked at", c.Data, n)
		}
	}
}

// TestBTHome: another decoder reads the same values of every kind of object.
func TestBTHome(t *testing.T) {
	number := regexp.MustCompile(` (-?[0-9.]+)( [^ ]+)?$`)
	numbers, twoStates := 0, 0
	for _, c := range load(t).BTHome {
		data := unhex(t, c.Data)
		got := bthome(data)
		for _, want := range c.Numbers {
			numbers++
			m := number.FindStringSubmatch(got)
			if m == nil {
				t.Errorf("%s: no number in %q", c.Data, got)
				continue
			}
			if v, err := strconv.ParseFloat(m[1], 64); err != nil || !closeTo(v, want, .005) && !(data[1] == 0x58 && closeTo(v, want, .05)) {
				t.Errorf("%s: %q, want %v", c.Data, got, want)
			}
		}
		for _, on := range c.Binary {
			twoStates++
			b := binaries[data[1]]
			word := b[1]
			if on {
				word = b[2]
			}
			if got != "BTHome, "+b[0]+" "+word {
				t.Errorf("%s: it is %v there: %q", c.Data, on, got)
			}
		}
	}
	if numbers < 100 || twoStates < 50 {
		t.Errorf("%d numbers, %d of two states", numbers, twoStates)
	}
}

// TestSays: payloads from the documentation of their formats, and nonsense of each kind.
func TestSays(t *testing.T) {
	for _, c := range []struct{ name, kind, data, want string }{
		{"iBeacon", "apple", "0215 f7826da64fa24e988024bc5b71e0893e 0001 0203 c5", "iBeacon f7826da6-4fa2-4e98-8024-bc5b71e0893e, major 1, minor 515, -59 dBm at 1 m"},
		{"iBeacon, cut off", "apple", "0215 f7826da64fa24e98", "0215f7826da64fa24e98"},
		{"Find My", "apple", "1219 00", "Find My 121900"},
		{"RAWv2, valid", "ruuvi", "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F", "RuuviTag, temperature 24.3 °C, humidity 53.49 %, pressure 1000.44 hPa, acceleration 4/-4/1036 mg, battery 2.977 V, TX power 4 dBm, movements 66, measurement 205"},
		{"RAWv2, nothing valid", "ruuvi", "058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF", "RuuviTag"},
		{"RAWv1, valid", "ruuvi", "03291A1ECE1EFC18F94202CA0B53", "RuuviTag, humidity 20.5 %, temperature 26.3 °C, pressure 1027.66 hPa, acceleration -1000/-1726/714 mg, battery 2.899 V"},
		{"Ruuvi, cut off", "ruuvi", "0512FC", "0512fc"},
		{"Ruuvi, unknown", "ruuvi", "ff00", "ff00"},
		{"Eddystone-UID", "eddystone", "00ee 00112233445566778899 aabbccddeeff 0000", "Eddystone-UID, namespace 00112233445566778899, instance aabbccddeeff, -18 dBm at 0 m"},
		{"Eddystone-URL", "eddystone", "10ee 03 6578616d706c6500 61", "Eddystone-URL https://example.com/a, -18 dBm at 0 m"},
		{"Eddystone-URL, nonsense", "eddystone", "10ee 09 61", "Eddystone 10ee0961"},
		{"Eddystone-URL, control character", "eddystone", "10ee 03 7f", "Eddystone 10ee037f"},
		{"Eddystone-TLM", "eddystone", "2000 0bb8 1580 00000010 00000064", "Eddystone-TLM, battery 3 V, temperature 21.5 °C, 16 advertisements in 10s"},
		{"Eddystone-EID", "eddystone", "30ee 0011223344556677", "Eddystone-EID 0011223344556677, -18 dBm at 0 m"},
		{"Eddystone, empty", "eddystone", "", "Eddystone"},
		{"BTHome, several", "bthome", "40 00 09 02 ca09 03 bf13 3a 04 3c 01 03 53 03 616200 f1 01020304", `BTHome, packet 9, temperature 25.06 °C, humidity 50.55 %, button long press, dimmer left 3, text "ab\x00", firmware 4.3.2.1`},
		{"BTHome, time", "bthome", "40 50 5d396164", "BTHome, time 2023-05-14T19:41:17Z"},
		{"BTHome, unknown behind known", "bthome", "40 01 55 ee 01", "BTHome, battery 85 %, and ee01"},
		{"BTHome, cut off", "bthome", "40 02 ca", "BTHome, and 02ca"},
		{"BTHome, long text cut off", "bthome", "40 53 ff 61", "BTHome, and 53ff61"},
		{"BTHome, text without a length", "bthome", "40 53", "BTHome, and 53"},
		{"BTHome, encrypted", "bthome", "41 a4 72", "BTHome, encrypted a472"},
		{"BTHome, another version", "bthome", "20 01", "BTHome 2001"},
		{"BTHome, empty", "bthome", "", "BTHome"},
	} {
		decode := map[string]func([]byte) string{"apple": apple, "ruuvi": ruuvi, "eddystone": eddystone, "bthome": bthome}[c.kind]
		if got := decode(unhex(t, c.data)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	fields := Says(&ble.Advertisement{
		Name: "x", ServiceUUIDs: []ble.UUID{ble.UUID16(0x180f), ble.UUID16(0xfff9), {1}}, HasTxPower: true, TxPower: -4, HasAppearance: true, Appearance: 64, Raw: []byte{1},
		ManufacturerData: []ble.ManufacturerData{{Company: 0x0499, Data: []byte{5}}, {Company: 0xfffe}, {Company: 0xffff, Data: []byte{1}}},
		ServiceData:      []ble.ServiceData{{UUID: ble.UUID16(0xfcd2), Data: []byte{0x40, 1, 99}}, {UUID: ble.UUID16(0xfeaa)}, {UUID: ble.UUID16(0x181a), Data: []byte{7}}},
	})
	var got []string
	for _, f := range fields {
		got = append(got, f.Name+"="+f.Value)
	}
	want := `shortened name=x|services=Battery Service (0x180f), FIDO2 secure client-to-authenticator transport (0xfff9), 01000000-0000-0000-0000-000000000000|` +
		`manufacturer=Ruuvi Innovations Ltd. (0x0499): 05|manufacturer=company 0xfffe: |manufacturer=none (for tests) (0xffff): 01|` +
		`service data=Allterco Robotics ltd (0xfcd2): BTHome, battery 99 %|service data=Google LLC (0xfeaa): Eddystone|service data=Environmental Sensing (0x181a): 07|` +
		`TX power=-4 dBm|appearance=0x0040|raw=01`
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("%s\nwant\n%s", s, want)
	}
}

// FuzzDecode: nothing from the air ends the program, and an answer is a few times as long as its payload.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"40010002ca09", "0512fc5394c37c0004fffc040cac364200cdcbb8334c884f", "10ee0361", "200002"} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, decode := range []func([]byte) string{apple, ruuvi, eddystone, bthome} {
			if s := decode(data); len(s) > 300+40*len(data) {
				t.Errorf("%d bytes became %d", len(data), len(s))
			}
		}
	})
}
