package proxysim

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/btsnoop"
	"bluez-esphome/internal/h4"

	"github.com/google/go-cmp/cmp"
)

const recordedAddress = ble.Address(0xc0aa01010203)

// recordedFile writes a capture of one device.
type recordedFile struct {
	file []byte
	at   time.Time
}

func (f *recordedFile) add(index uint16, op btsnoop.Opcode, data []byte) {
	f.file = btsnoop.Append(f.file, btsnoop.Record{Time: f.at, Index: index, Op: op, Data: data})
}

func (f *recordedFile) report(index uint16, kind byte, rssi int8, data string) {
	f.add(index, btsnoop.Event, h4.AppendReport(nil, kind, recordedAddress, ble.Random, rssi, []byte(data))[1:])
}

// att is a PDU sent, or received, as hex.
func (f *recordedFile) att(received bool, pdu string) {
	b, err := hex.DecodeString(pdu)
	if err != nil {
		panic(err)
	}
	op := btsnoop.ACLTX
	if received {
		op = btsnoop.ACLRX
	}
	f.add(0, op, btsnoop.ATTData(0x40, received, b))
}

func newRecordedFile() *recordedFile {
	f := &recordedFile{file: btsnoop.Header(), at: time.Unix(1e9, 0)}
	f.add(0, btsnoop.Note, btsnoop.NoteData("proxy kitchen"))
	f.add(1, btsnoop.Note, btsnoop.NoteData("proxy hall"))
	return f
}

func (f *recordedFile) connect() {
	f.add(0, btsnoop.Event, btsnoop.EventData(h4.EventMeta, append(h4.AppendAddress([]byte{1, 0, 0x40, 0, 0, 1}, recordedAddress), 6, 0, 0, 0, 0xe8, 3, 0)...))
}

// TestRecordedAdverts: how loud which proxy hears the device, how often, and each of its payloads.
func TestRecordedAdverts(t *testing.T) {
	t.Parallel()
	f := newRecordedFile()
	for i := range 9 { // every 100 ms, another payload every 300 ms
		f.report(0, h4.ReportConnectable, -60, "\x02\x09"+string("abc"[i/3]))
		f.report(0, h4.ReportScanResponse, -60, "\x02\x0a\x04")
		f.at = f.at.Add(100 * time.Millisecond)
	}
	f.report(1, h4.ReportConnectable, -80, "\x02\x09c")
	specs, err := ReadRecorded(bytes.NewReader(f.file))
	if err != nil || len(specs) != 1 {
		t.Fatalf("%+v, %v", specs, err)
	}
	s := specs[0]
	frames := []FrameSpec{
		{HexBytes("\x02\x09a"), HexBytes("\x02\x0a\x04")}, {HexBytes("\x02\x09b"), HexBytes("\x02\x0a\x04")}, {HexBytes("\x02\x09c"), HexBytes("\x02\x0a\x04")},
	}
	if diff := cmp.Diff(frames, s.Advert.Frames); diff != "" {
		t.Error(diff)
	}
	if s.Advert.IntervalMS != 100 || s.Advert.FrameEveryMS != 450 || s.AddressType != "random" {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(map[string]int8{"kitchen": -60, "hall": -80, "*": -60}, s.RSSI); diff != "" {
		t.Error(diff)
	}
}

// TestRecordedGATT: attributes, values that were read first, long ones, what was refused, and what was notified.
func TestRecordedGATT(t *testing.T) {
	t.Parallel()
	f := newRecordedFile()
	f.connect()
	for _, pdu := range []string{
		"021e00", "<031e00",
		"100100ffff0028", "<110601000a00" + "0f18" + "0b00ffff" + "0a18", "080100ffff0328", "<0907" + "0200" + "1a" + "0300" + "192a" + "0500" + "0a" + "0600" + "1a2a" + "0c00" + "02" + "0d00" + "292a",
		"0404000400", "<050104000229",
		"0a0300", "<0b61", "1203006200", "<13", "0a0300", "<0b62", // what was there first counts
		"0a0d00", "<0b" + "6161616161", "0c0d000500", "<0d6262",
		"0a0600", "<010a06000f", "120600ff", "<0112060080",
		"12040001", "<13", "<1b030001", "<1b030002",
	} {
		received := pdu[0] == '<'
		if received {
			pdu = pdu[1:]
		}
		f.at = f.at.Add(50 * time.Millisecond)
		f.att(received, pdu)
	}
	specs, err := ReadRecorded(bytes.NewReader(f.file))
	if err != nil || len(specs) != 1 {
		t.Fatalf("%+v, %v", specs, err)
	}
	want := GATTSpec{Services: []ServiceSpec{
		{Handle: 1, EndHandle: 10, UUID: ble.UUID16(0x180f), Characteristics: []CharSpec{
			{Handle: 2, ValueHandle: 3, UUID: ble.UUID16(0x2a19), Properties: []string{"notify", "read", "write"}, Value: HexBytes("a"),
				Descriptors: []DescSpec{{Handle: 4, UUID: ble.UUIDCCCD, Value: HexBytes{0, 0}}}, NotifyValues: []HexBytes{{1}, {2}}, NotifyEveryMS: 50},
			{Handle: 5, ValueHandle: 6, UUID: ble.UUID16(0x2a1a), Properties: []string{"read", "write"}, Security: "encryption", WriteError: 0x80},
		}},
		{Handle: 11, EndHandle: 13, UUID: ble.UUID16(0x180a), Characteristics: []CharSpec{
			{Handle: 12, ValueHandle: 13, UUID: ble.UUID16(0x2a29), Properties: []string{"read"}, Value: HexBytes("aaaaabb")},
		}},
	}}
	if diff := cmp.Diff(want, specs[0].GATT); diff != "" {
		t.Error(diff)
	}
	if specs[0].MTU != 30 || specs[0].Advert.RawAdvertisement == nil {
		t.Errorf("%+v", specs[0])
	}
}

// TestForeignCaptures: captures of btmon, of kernels with this controller, are played, too.
func TestForeignCaptures(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "..", "shared", "hci", "captures")
	files, err := filepath.Glob(filepath.Join(dir, "*.btsnoop"))
	if err != nil || len(files) == 0 {
		t.Skip("../shared/hci/captures is not there (the recordings are not in the repository)")
	}
	played := 0
	for _, file := range files {
		specs, err := LoadPeripherals(file)
		if err != nil {
			t.Logf("%s: %v", filepath.Base(file), err)
			continue
		}
		if _, err := NewAir(specs); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, s := range specs {
			if len(s.GATT.Services) > 0 {
				played++
			}
		}
	}
	if played < len(files)/2 {
		t.Errorf("%d devices with attributes in %d captures", played, len(files))
	}
}

// FuzzRecorded: whatever is in a capture, it is refused or played.
func FuzzRecorded(f *testing.F) {
	file := newRecordedFile()
	file.report(0, h4.ReportConnectable, -60, "\x02\x01\x06")
	file.connect()
	file.att(false, "100100ffff0028")
	file.att(true, "110601000a000f18")
	f.Add(file.file)
	if b, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "hci", "captures", "notify-6.1.btsnoop")); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		specs, err := ReadRecorded(bytes.NewReader(data))
		if err != nil {
			return
		}
		if _, err := NewAir(specs); err != nil {
			t.Fatal(err)
		}
	})
}
