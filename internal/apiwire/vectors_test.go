package apiwire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

type messageVector struct {
	ID              ID             `json:"id"`
	Name            string         `json:"name"`
	Fields          map[string]any `json:"fields"`
	Payload         hexBytes       `json:"payload_hex"`
	Frame           hexBytes       `json:"frame_hex"`
	FirmwarePayload hexBytes       `json:"firmware_payload_hex"`
	FirmwareFrame   hexBytes       `json:"firmware_frame_hex"`
}

type frameVector struct {
	ID     ID       `json:"id"`
	Inner  hexBytes `json:"inner_plaintext_hex"`
	Cipher hexBytes `json:"ciphertext_hex"`
	Frame  hexBytes `json:"frame_hex"`
}

type noiseVectors struct {
	PSK              hexBytes      `json:"psk_hex"`
	PSKBase64        string        `json:"psk_base64"`
	ClientEphemeral  hexBytes      `json:"client_ephemeral_private_hex"`
	ServerEphemeral  hexBytes      `json:"server_ephemeral_private_hex"`
	ClientFirstWrite hexBytes      `json:"client_first_write_hex"`
	ServerHello      hexBytes      `json:"server_hello_payload_hex"`
	ServerHelloFrame hexBytes      `json:"server_hello_frame_hex"`
	ServerName       string        `json:"server_name"`
	ServerMAC        string        `json:"server_mac"`
	ServerHandshake  hexBytes      `json:"server_handshake_frame_hex"`
	ClientToServer   []frameVector `json:"client_to_server"`
	ServerToClient   []frameVector `json:"server_to_client"`
	HelloVariants    []struct {
		Payload hexBytes `json:"payload_hex"`
		Note    string   `json:"note"`
	} `json:"server_hello_variants"`
	Rejects []struct {
		Frame  hexBytes `json:"frame_hex"`
		Expect string   `json:"expect"`
	} `json:"rejects"`
	WrongPSK struct {
		PSK       hexBytes `json:"client_psk_hex"`
		Handshake hexBytes `json:"client_handshake_message_hex"`
	} `json:"wrong_psk"`
	Tampered struct {
		Handshake hexBytes `json:"server_handshake_message_hex"`
	} `json:"tampered_server_message"`
	PSKDecoding []struct {
		PSK string   `json:"psk"`
		OK  bool     `json:"ok"`
		Hex hexBytes `json:"hex"`
	} `json:"psk_decoding"`
	InnerErrors []struct {
		Inner hexBytes `json:"inner_plaintext_hex"`
	} `json:"inner_frame_errors"`
}

type vectors struct {
	Messages  []messageVector `json:"messages"`
	SkipRules []struct {
		Frame   hexBytes `json:"frame_hex"`
		Payload hexBytes `json:"payload_hex"`
		Message string   `json:"message"`
		Expect  string   `json:"expect"`
	} `json:"skip_rules"`
	Framing struct {
		Varints []struct {
			Value uint64   `json:"value"`
			Hex   hexBytes `json:"hex"`
		} `json:"varints"`
		Split struct {
			Stream hexBytes `json:"stream_hex"`
			Expect [][]any  `json:"expect"`
		} `json:"plaintext_split"`
		Errors []struct {
			Stream hexBytes `json:"stream_hex"`
			Client string   `json:"client"`
			Expect string   `json:"expect"`
		} `json:"errors"`
	} `json:"framing"`
	Noise  noiseVectors `json:"noise"`
	Golden struct {
		Steps []struct {
			ID    ID       `json:"id"`
			Name  string   `json:"name"`
			Frame hexBytes `json:"frame_hex"`
		} `json:"steps"`
	} `json:"golden_session_bleak_esphome"`
}

// hexBytes is nil if the key is absent.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(t []byte) error {
	b, err := hex.DecodeString(string(t))
	*h = b
	return err
}

func loadVectors(t testing.TB) *vectors {
	t.Helper()
	data, err := os.ReadFile("../testdata/esphome-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // addresses and UUID halves don't fit a float
	v := new(vectors)
	if err := dec.Decode(v); err != nil {
		t.Fatal(err)
	}
	return v
}

// build sets the fields of a vector by their names; bytes are {"hex": …}.
func build(t *testing.T, m protoreflect.Message, fields map[string]any) {
	t.Helper()
	for name, value := range fields {
		fd := m.Descriptor().Fields().ByName(protoreflect.Name(name))
		if fd == nil {
			t.Fatalf("%v has no field %s", m.Descriptor().Name(), name)
		}
		if !fd.IsList() {
			if fd.Kind() == protoreflect.MessageKind {
				build(t, m.Mutable(fd).Message(), value.(map[string]any))
				continue
			}
			m.Set(fd, scalar(t, fd, value))
			continue
		}
		list := m.Mutable(fd).List()
		for _, e := range value.([]any) {
			if fd.Kind() == protoreflect.MessageKind {
				build(t, list.AppendMutable().Message(), e.(map[string]any))
				continue
			}
			list.Append(scalar(t, fd, e))
		}
	}
}

func scalar(t *testing.T, fd protoreflect.FieldDescriptor, v any) protoreflect.Value {
	t.Helper()
	switch v := v.(type) {
	case bool:
		return protoreflect.ValueOfBool(v)
	case string:
		return protoreflect.ValueOfString(v)
	case map[string]any:
		b, err := hex.DecodeString(v["hex"].(string))
		if err != nil {
			t.Fatal(err)
		}
		return protoreflect.ValueOfBytes(b)
	}
	number := string(v.(json.Number))
	n, err := strconv.ParseInt(number, 10, 64)
	u, uerr := strconv.ParseUint(number, 10, 64)
	if err != nil && uerr != nil {
		t.Fatal(err)
	}
	switch fd.Kind() {
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(u)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(u))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n))
	}
	t.Fatalf("no conversion to %v", fd.Kind())
	return protoreflect.Value{}
}

func TestVectorMessages(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	both := 0
	for _, c := range v.Messages {
		if got := c.ID.String(); got != c.Name {
			t.Errorf("message %d is %q, want %q", c.ID, got, c.Name)
		}
		m := New(c.ID)
		if m == nil {
			t.Fatalf("message %d is unknown", c.ID)
		}
		build(t, m.ProtoReflect(), c.Fields)
		if got := IDOf(m); got != c.ID {
			t.Errorf("IDOf(%s) = %d, want %d", c.Name, got, c.ID)
		}
		firmware, frame := c.Payload, c.Frame
		if c.FirmwarePayload != nil {
			firmware, frame = c.FirmwarePayload, c.FirmwareFrame
			both++
		}
		got, err := MarshalFirmware(m)
		if err != nil || !bytes.Equal(got, firmware) {
			t.Errorf("%s: encoded %x (%v), want %x", c.Name, got, err, firmware)
		}
		f := NewPlain(nil)
		if got, err := f.AppendMessage(nil, m); err != nil || !bytes.Equal(got, frame) {
			t.Errorf("%s: framed %x (%v), want %x", c.Name, got, err, frame)
		}
		for _, encoding := range [][]byte{c.Payload, firmware} {
			decoded, err := Unmarshal(c.ID, encoding)
			if err != nil || !proto.Equal(decoded, m) {
				t.Errorf("%s: %x decoded to %v (%v), want %v", c.Name, encoding, decoded, err, m)
			}
			if c.ID == BluetoothLERawAdvertisementsResponse {
				checkRawAdverts(t, encoding, firmware)
			}
		}
		id, payload, err := NewPlain(bytes.NewReader(c.Frame)).Read()
		if err != nil || id != c.ID || !bytes.Equal(payload, c.Payload) {
			t.Errorf("%s: frame read as %v %x (%v)", c.Name, id, payload, err)
		}
	}
	t.Logf("covered %d message vectors, %d of them in both encodings", len(v.Messages), both)
}

// checkRawAdverts decodes a batch entry by entry and encodes it again.
func checkRawAdverts(t *testing.T, payload, want []byte) {
	t.Helper()
	var got []byte
	var a RawAdvert
	for {
		n, err := DecodeRawAdvert(payload, &a)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		got, payload = AppendRawAdvert(got, a), payload[n:]
	}
	if !bytes.Equal(got, want) {
		t.Errorf("adverts encoded again as %x, want %x", got, want)
	}
}

func TestVectorGoldenFrames(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	n := 0
	for _, s := range v.Golden.Steps {
		if s.Frame == nil {
			continue
		}
		n++
		id, payload, err := NewPlain(bytes.NewReader(s.Frame)).Read()
		if err != nil || id != s.ID || id.String() != s.Name {
			t.Errorf("%x read as %v (%v), want %s", s.Frame, id, err, s.Name)
			continue
		}
		if _, err := Unmarshal(id, payload); err != nil {
			t.Error(err)
		}
	}
	t.Logf("covered %d golden session frames", n)
}

func TestVectorSkipRules(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	for _, c := range v.SkipRules {
		switch {
		case c.Frame != nil:
			id, _, err := NewPlain(bytes.NewReader(c.Frame)).Read()
			if err != nil || New(id) != nil {
				t.Errorf("%s: got %v, %v", c.Expect, id, err)
			}
		case c.Message == "PingRequest":
			m, err := Unmarshal(PingRequest, c.Payload)
			if err != nil || len(m.ProtoReflect().GetUnknown()) != 0 {
				t.Errorf("%s: got %v, %v", c.Expect, m, err)
			}
		default:
			m, err := Unmarshal(BluetoothDeviceConnectionResponse, c.Payload)
			if err != nil {
				t.Fatal(err)
			}
			r := m.ProtoReflect()
			address := r.Get(r.Descriptor().Fields().ByName("address")).Uint()
			if address != 0x112233445566 {
				t.Errorf("%s: got address %x", c.Expect, address)
			}
		}
	}
	t.Logf("covered %d skip rules", len(v.SkipRules))
}

func TestVectorPSKs(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	for _, c := range v.Noise.PSKDecoding {
		key, err := ParsePSK(c.PSK)
		if (err == nil) != c.OK || c.OK && !bytes.Equal(key[:], c.Hex) {
			t.Errorf("ParsePSK(%q) = %x, %v, want ok %v", c.PSK, key, err, c.OK)
		}
		if err != nil && (!AuthFailure(err) || c.PSK != "" && bytes.Contains([]byte(err.Error()), []byte(c.PSK))) {
			t.Errorf("error %q must be of the key's class and not hold the key", err)
		}
	}
	t.Logf("covered %d keys", len(v.Noise.PSKDecoding))
}

// The generated tables say the same of every number, and to ask costs nothing: a proxy's reader does for each message.
func TestKnownNumbers(t *testing.T) {
	known := 0
	for id := range ID(1 << 15) {
		m := New(id)
		if (m != nil) != Known(id) {
			t.Errorf("%d: known is %v, New gives %v", id, Known(id), m)
		}
		if m != nil {
			known++
			if IDOf(m) != id {
				t.Errorf("%d is %T, whose number is %d", id, m, IDOf(m))
			}
		}
	}
	if known < 48 {
		t.Errorf("%d messages are known", known)
	}
	answers := 0
	allocations := testing.AllocsPerRun(100, func() {
		if Known(BluetoothGATTNotifyDataResponse) {
			answers++
		}
	})
	if allocations != 0 || answers == 0 {
		t.Errorf("to ask allocates %v times; %d answers", allocations, answers)
	}
}
