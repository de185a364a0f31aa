package stream

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"

	"github.com/eclipse/paho.golang/packets"
	"github.com/google/go-cmp/cmp"
)

func messages(t *testing.T, format config.StreamFormat, payload, name string) (out []string) {
	t.Helper()
	return messagesAt(t, format, payload, name, ble.WeakestRSSI, nil)
}

func messagesAt(t *testing.T, format config.StreamFormat, payload, name string, rssi int8, heard []Hearing) (out []string) {
	t.Helper()
	data, err := hex.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	m := plain()
	m.Format = format
	e := newEncoder(m, Config{
		Hearing: func(_ ble.Address, _ time.Time, out []Hearing) ([]Hearing, string) {
			return append(out, heard...), name
		},
		Label: func(id string) string { return id },
	})
	var r record
	r.set(1, &ble.RawAdvert{Address: 0xA4C138000001, RSSI: rssi, Data: data})
	e.each(&r, nil, func(topic, payload []byte) {
		if !json.Valid(payload) {
			t.Errorf("not JSON: %s", payload)
		}
		out = append(out, string(topic)+" "+string(payload))
	})
	return out
}

func TestFormats(t *testing.T) {
	t.Parallel()
	const own = `air/device/A4C138000001 {"time":1,"site":"here","address":"A4:C1:38:00:00:01","address_type":"public","proxies":{}`
	const theirs = `air/BTtoMQTT/undecoded {"id":"A4:C1:38:00:00:01","mac_type":0`
	for name, c := range map[string]struct {
		format  config.StreamFormat
		payload string
		name    string
		want    []string
	}{
		"all fields": {config.StreamJSON, "020106020afc03194103030318180b09486922c3a45c01e2820005ff99040102" + "0416d2fc40", "Hi\"ä\\\x01", []string{own +
			`,"raw":"020106020afc03194103030318180b09486922c3a45c01e2820005ff990401020416d2fc40","name":"Hi\"ä\\\u0001","flags":6,"tx_power":-4,"appearance":833,"services":["00001818-0000-1000-8000-00805f9b34fb"]` +
			`,"service_data":[{"uuid":"0000fcd2-0000-1000-8000-00805f9b34fb","data":"40"}],"manufacturer_data":[{"company":1177,"data":"0102"}]}`}},
		"no power":           {config.StreamJSON, "020a7f 030a0102", "", []string{own + `,"raw":"020a7f030a0102"}`}},
		"nothing":            {config.StreamJSON, "", "", []string{own + `,"raw":""}`}},
		"cut short":          {config.StreamJSON, "02010605ff99", "", []string{own + `,"raw":"02010605ff99","flags":6}`}},
		"odd sizes":          {config.StreamJSON, "0302 01 01 0219 01 02ff99 0216d2", "", []string{own + `,"raw":"0302010102190102ff990216d2","services":["00000101-0000-1000-8000-00805f9b34fb"]}`}},
		"their manufacturer": {config.StreamUndecoded, "02010605ff99040102", "ABC\xff", []string{theirs + `,"name":"ABC","manufacturerdata":"99040102"}`}},
		"their services": {config.StreamUndecoded, "0416d2fc40" + "0416 95fe 50", "", []string{
			theirs + `,"servicedatauuid":"fcd2","servicedata":"40"}`, theirs + `,"servicedatauuid":"fe95","servicedata":"50"}`}},
		"their nothing": {config.StreamUndecoded, "", "", []string{theirs + `}`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			payload := string(bytes.ReplaceAll([]byte(c.payload), []byte(" "), nil))
			if d := cmp.Diff(c.want, messages(t, c.format, payload, c.name)); d != "" {
				t.Error(d)
			}
		})
	}
}

// What no radio measures is published as unknown, in every form that it takes.
func TestUnknownRSSI(t *testing.T) {
	t.Parallel()
	for _, rssi := range []int8{0, -128, -127, 127, 21, -126, -60, 20} {
		known := rssi == -126 || rssi == -60 || rssi == 20
		for _, format := range []config.StreamFormat{config.StreamJSON, config.StreamUndecoded} {
			got := messagesAt(t, format, "020106", "", rssi, []Hearing{{"kitchen", rssi}})[0]
			if strings.Contains(got, `"rssi"`) != known {
				t.Errorf("%d dBm: %s", rssi, got)
			}
			if null := strings.Contains(got, `{"kitchen":null}`); format == config.StreamJSON && null == known {
				t.Errorf("%d dBm: %s", rssi, got)
			}
		}
	}
}

// Whatever comes from the air, the messages are JSON.
func FuzzFormats(f *testing.F) {
	f.Add([]byte("\x02\x01\x06\x1b\xff\x99\x04\x05"))
	f.Add([]byte("\x05\x09\xff\"\\\x00\x03\x16\xd2\xfc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range []config.StreamFormat{config.StreamJSON, config.StreamUndecoded} {
			messages(t, format, hex.EncodeToString(data), string(data))
		}
	})
}

// What we frame ourselves paho reads, at every length of the length.
func TestAppendPublish(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 120, 122, 123, 200, 16000, 17000, 70000} {
		payload := bytes.Repeat([]byte{'x'}, n)
		p, err := packets.ReadPacket(bytes.NewReader(appendPublish(nil, []byte("a/b"), payload, true)))
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if m := p.Content.(*packets.Publish); m.Topic != "a/b" || !bytes.Equal(m.Payload, payload) || !m.Retain || m.QoS != 0 {
			t.Errorf("%d bytes came as %d of %q", n, len(m.Payload), m.Topic)
		}
	}
}

// A broker cannot make us take what is long.
func TestInspector(t *testing.T) {
	t.Parallel()
	ok := append([]byte{0x30, 0x80, 0x80, 0x04}, make([]byte, maxInbound)...)
	for name, c := range map[string]struct {
		in   []byte
		good bool
	}{
		"short packets": {[]byte{0xd0, 0, 0x40, 2, 0, 1, 0xd0, 0}, true},
		"the longest":   {ok, true},
		"too long":      {[]byte{0x30, 0x81, 0x80, 0x04, 0}, false},
		"no length":     {[]byte{0x30, 0xff, 0xff, 0xff, 0xff}, false},
	} {
		var whole, bits inspector
		err := whole.pass(c.in)
		var bytewise error
		for i := range c.in {
			if bytewise == nil {
				bytewise = bits.pass(c.in[i : i+1])
			}
		}
		if (err == nil) != c.good || (bytewise == nil) != c.good {
			t.Errorf("%s: %v and %v", name, err, bytewise)
		}
	}
}

func TestLevel(t *testing.T) {
	t.Parallel()
	if got := level("a+b/c#d\x00e ä"); got != "a_b_c_d_e ä" {
		t.Error(got)
	}
}
