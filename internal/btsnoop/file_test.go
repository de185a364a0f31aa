package btsnoop_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/btsnoop"
)

// records reads a file.
func records(t testing.TB, file []byte) (out []btsnoop.Record, err error) {
	t.Helper()
	r, err := btsnoop.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		rec.Data = slices.Clone(rec.Data)
		out = append(out, rec)
	}
}

// TestWritten: what is written is read the same, and begins as the format's files do.
func TestWritten(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 30, 8, 0, 0, 123456000, time.UTC)
	want := []btsnoop.Record{
		{Time: at, Index: 3, Op: btsnoop.NewIndex, Data: btsnoop.NewIndexData(0x240ac4000001, "a name that is long")},
		{Time: at.Add(time.Second), Index: 0xffff, Op: btsnoop.ACLRX, Drops: 7, Data: btsnoop.ATTData(0x40, true, []byte{0x13})},
		{Time: at, Op: btsnoop.DelIndex, Data: []byte{}},
	}
	file := btsnoop.Header()
	if string(file) != "btsnoop\x00\x00\x00\x00\x01\x00\x00\x07\xd1" {
		t.Errorf("header %q", file)
	}
	for _, r := range want {
		file = btsnoop.Append(file, r)
	}
	// 1970 and what is between it and the year 0, by the proleptic calendar.
	if got := binary.BigEndian.Uint64(file[16+16:]) - uint64(at.UnixMicro()); got != 0x00dcddb30f2f8000 {
		t.Errorf("the epoch is %#x", got)
	}
	got, err := records(t, file)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d records, %v", len(got), err)
	}
	for i, r := range got {
		w := want[i]
		if !r.Time.Equal(w.Time) || r.Index != w.Index || r.Op != w.Op || r.Drops != w.Drops || !bytes.Equal(r.Data, w.Data) {
			t.Errorf("record %d: %+v, want %+v", i, r, w)
		}
	}
	for cut := 16; cut < len(file); cut++ {
		if _, err := records(t, file[:cut]); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}

// TestKinds: files of HCI's kinds, which phones and other programs write.
func TestKinds(t *testing.T) {
	t.Parallel()
	file := func(link uint32, flags uint32, data string) []byte {
		b := append([]byte("btsnoop\x00\x00\x00\x00\x01"), 0, 0, byte(link>>8), byte(link))
		for _, v := range []uint32{uint32(len(data)), uint32(len(data)), flags, 0, 0, 0} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return append(b, data...)
	}
	for _, c := range []struct {
		name        string
		link, flags uint32
		data        string
		op          btsnoop.Opcode
		want        string // empty: left out
	}{
		{"HCI command", 1001, 2, "c", btsnoop.Command, "c"},
		{"HCI event", 1001, 3, "e", btsnoop.Event, "e"},
		{"HCI sent", 1001, 0, "d", btsnoop.ACLTX, "d"},
		{"HCI received", 1001, 1, "d", btsnoop.ACLRX, "d"},
		{"H4 command", 1002, 2, "\x01c", btsnoop.Command, "c"},
		{"H4 event", 1002, 3, "\x04e", btsnoop.Event, "e"},
		{"H4 received", 1002, 1, "\x02d", btsnoop.ACLRX, "d"},
		{"H4 sent", 1002, 0, "\x02d", btsnoop.ACLTX, "d"},
		{"H4 voice", 1002, 0, "\x03d", 0, ""},
		{"H4 empty", 1002, 0, "", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := records(t, file(c.link, c.flags, c.data))
			if c.want == "" {
				if err != nil || len(got) != 0 {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err != nil || len(got) != 1 || got[0].Op != c.op || string(got[0].Data) != c.want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	for _, bad := range []struct{ name, file, want string }{
		{"nothing", "", "cut off"},
		{"text", "a text that is longer than a header", "no btsnoop file"},
		{"version", "btsnoop\x00\x00\x00\x00\x02\x00\x00\x07\xd1", "version 2"},
		{"link", "btsnoop\x00\x00\x00\x00\x01\x00\x00\x00\x01", "datalink type 1"},
		{"long", string(btsnoop.Header()) + "\xff\xff\xff\xff\xff\xff\xff\xff" + strings.Repeat("\x00", 16), "4294967295 bytes"},
	} {
		if _, err := records(t, []byte(bad.file)); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v", bad.name, err)
		}
	}
}
