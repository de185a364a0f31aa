package apiwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"bluez-esphome/internal/apiwire/apipb"
)

func TestVectorFraming(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	for _, c := range v.Framing.Varints {
		if got := protowire.AppendVarint(nil, c.Value); !bytes.Equal(got, c.Hex) {
			t.Errorf("varint %d is %x, want %x", c.Value, got, c.Hex)
		}
	}
	f := NewPlain(iotest.OneByteReader(bytes.NewReader(v.Framing.Split.Stream)))
	for _, want := range v.Framing.Split.Expect {
		var payload hexBytes
		if err := payload.UnmarshalText([]byte(want[1].(string))); err != nil {
			t.Fatal(err)
		}
		id, got, err := f.Read()
		if n, _ := want[0].(interface{ Int64() (int64, error) }).Int64(); err != nil || int64(id) != n || !bytes.Equal(got, payload) {
			t.Errorf("read %v %x (%v), want %v", id, got, err, want)
		}
	}
	if _, _, err := f.Read(); err != io.EOF {
		t.Errorf("after the last frame: %v, want EOF", err)
	}
	for _, c := range v.Framing.Errors {
		err := readError(c.Client, c.Stream)
		var (
			protocol  *ProtocolError
			encrypted *RequiresEncryptionError
			plain     *PlaintextDeviceError
			handshake *HandshakeError
		)
		ok := false
		switch word, _, _ := strings.Cut(c.Expect, " "); word {
		case "RequiresEncryption":
			ok = errors.As(err, &encrypted) && AuthFailure(err)
		case "Protocol":
			ok = errors.As(err, &protocol) && !AuthFailure(err)
		case "EncryptionPlaintext":
			ok = errors.As(err, &plain) && !AuthFailure(err)
		case "Handshake":
			ok = errors.As(err, &handshake) && !AuthFailure(err)
		}
		if !ok {
			t.Errorf("%x gives %v (%T), want %s", []byte(c.Stream), err, err, c.Expect)
		}
	}
	t.Logf("covered %d varints, 1 split stream, %d error streams", len(v.Framing.Varints), len(v.Framing.Errors))
}

func readError(client string, stream []byte) error {
	if client == "plaintext" {
		_, _, err := NewPlain(bytes.NewReader(stream)).Read()
		return err
	}
	_, _, err := ClientHandshake(script{bytes.NewReader(stream), io.Discard}, ClientNoise{})
	return err
}

// script is a peer that says what it was given, whatever it hears.
type script struct {
	io.Reader
	io.Writer
}

func TestReadBurst(t *testing.T) {
	t.Parallel()
	var stream []byte
	w := NewPlain(nil)
	for i := range 100 {
		stream, _ = w.Append(stream, PingRequest, make([]byte, i))
	}
	reads := 0
	f := NewPlain(readerFunc(func(p []byte) (int, error) {
		reads++
		n := copy(p, stream)
		stream = stream[n:]
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}))
	for i := range 100 {
		before, buffered := reads, f.Buffered()
		if _, p, err := f.Read(); err != nil || len(p) != i {
			t.Fatalf("frame %d: %d bytes, %v", i, len(p), err)
		}
		if buffered != (reads == before) {
			t.Fatalf("frame %d: Buffered said %v, but reads went from %d to %d", i, buffered, before, reads)
		}
	}
	if reads > 4 {
		t.Errorf("%d reads for 5 KiB of frames, want at most 4", reads)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestReadLimits(t *testing.T) {
	t.Parallel()
	big, err := NewPlain(nil).Append(nil, 300, make([]byte, MaxClientPayload))
	if err != nil {
		t.Fatal(err)
	}
	if _, p, err := NewPlain(bytes.NewReader(big)).Read(); err != nil || len(p) != MaxClientPayload {
		t.Errorf("largest frame: %d bytes, %v", len(p), err)
	}
	var protocol *ProtocolError
	if _, _, err := newServer(bytes.NewReader(big)).Read(); !errors.As(err, &protocol) {
		t.Errorf("a server took it: %v", err)
	}
	if _, err := NewPlain(nil).Append(nil, 1, make([]byte, MaxClientPayload+1)); err == nil {
		t.Error("framed too much")
	}
	if _, _, err := NewPlain(bytes.NewReader(big[:1000])).Read(); err != io.ErrUnexpectedEOF {
		t.Errorf("cut frame: %v", err)
	}
	id, p, err := NewPlain(bytes.NewReader([]byte{0, 1, 0x80, 0x80, 0x04, 7})).Read()
	if id != 0 || len(p) != 1 || err != nil {
		t.Errorf("number 65536: %v %x %v, want 0", id, p, err)
	}
}

// What firmware sends takes the short way through the decoder, and says the same there.
func TestUsualAdverts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := RawAdvert{
			Address: rapid.Uint64Range(0, 1<<48-1).Draw(t, "address"), RSSI: rapid.Int32Range(-128, 127).Draw(t, "rssi"),
			AddressType: rapid.Uint32Range(0, 3).Draw(t, "type"), Data: rapid.SliceOfN(rapid.Byte(), 0, 62).Draw(t, "data"),
		}
		b := AppendRawAdvert(nil, want)
		var got, slow RawAdvert
		if n := got.decodeUsual(append(b, 0x0a)); n != len(b) {
			t.Fatalf("%x: %d bytes of %d", b, n, len(b))
		}
		if !slow.decode(b[2:]) {
			t.Fatalf("%x cannot be decoded", b)
		}
		for _, g := range []RawAdvert{got, slow} {
			if g.Address != want.Address || g.RSSI != want.RSSI || g.AddressType != want.AddressType || !bytes.Equal(g.Data, want.Data) {
				t.Fatalf("%x is %+v, want %+v", b, g, want)
			}
		}
	})
}

// A peer that sends more than a read takes is read in larger pieces; the others keep their small buffer.
func TestBusyPeerGetsALargerBuffer(t *testing.T) {
	t.Parallel()
	frame, _ := NewPlain(nil).Append(nil, 93, make([]byte, 700))
	for frames, want := range map[int]int{3: startBuffer, 100: busyBuffer} {
		f := NewPlain(bytes.NewReader(bytes.Repeat(frame, frames)))
		for range frames {
			if _, p, err := f.Read(); err != nil || len(p) != 700 {
				t.Fatalf("%d bytes, %v", len(p), err)
			}
		}
		if len(f.buf) != want {
			t.Errorf("a buffer of %d bytes after %d frames at once, want %d", len(f.buf), frames, want)
		}
	}
}

func TestInvalidUTF8(t *testing.T) {
	t.Parallel()
	m, err := Unmarshal(HelloResponse, []byte{0x22, 2, 0xff, 'x'})
	if err != nil || m.(*apipb.HelloResponse).GetName() != "\xffx" {
		t.Errorf("got %v, %v", m, err)
	}
}

func TestDecodeRawAdvertAllocates(t *testing.T) {
	// Not parallel: AllocsPerRun.
	v := loadVectors(t)
	for _, c := range v.Messages {
		if c.ID != BluetoothLERawAdvertisementsResponse {
			continue
		}
		stream := bytes.Repeat(c.Frame, 1000)
		f := NewPlain(bytes.NewReader(stream))
		if n := testing.AllocsPerRun(500, func() {
			_, p, err := f.Read()
			var a RawAdvert
			for n := 1; n > 0 && err == nil; p = p[n:] {
				n, err = DecodeRawAdvert(p, &a)
			}
			if err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations for %x", n, []byte(c.Frame))
		}
	}
}

func FuzzPlainRead(f *testing.F) {
	for _, c := range loadVectors(f).Messages {
		f.Add([]byte(c.Frame))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewPlain(bytes.NewReader(data))
		for {
			r.Buffered()
			id, payload, err := r.Read()
			if err != nil {
				return
			}
			if New(id) != nil {
				_, _ = Unmarshal(id, payload)
			}
			sameAsGenerated(t, payload)
		}
	})
}

// sameAsGenerated compares DecodeRawAdvert with the generated decoder, in what both understand.
func sameAsGenerated(t *testing.T, payload []byte) {
	var want apipb.BluetoothLERawAdvertisementsResponse
	wantErr := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(payload, &want)
	var a RawAdvert
	for i := 0; ; i++ {
		n, err := DecodeRawAdvert(payload, &a)
		if n == 0 {
			if wantErr == nil && (err != nil || i != len(want.Advertisements)) {
				t.Fatalf("%d advertisements, %v; want %d", i, err, len(want.Advertisements))
			}
			return
		}
		payload = payload[n:]
		if wantErr == nil {
			w := want.Advertisements[i]
			if a.Address != w.GetAddress() || a.RSSI != w.GetRssi() || a.AddressType != w.GetAddressType() || !bytes.Equal(a.Data, w.GetData()) {
				t.Fatalf("advertisement %d is %+v, want %v", i, a, w)
			}
		}
	}
}

func FuzzServerHandshake(f *testing.F) {
	n := loadVectors(f).Noise
	f.Add([]byte(n.ClientFirstWrite), []byte(n.ServerHelloFrame))
	f.Fuzz(func(t *testing.T, fromClient, fromServer []byte) {
		_, _ = ServerHandshake(script{bytes.NewReader(fromClient), io.Discard}, ServerNoise{})
		_, _, _ = ClientHandshake(script{bytes.NewReader(fromServer), io.Discard}, ClientNoise{})
	})
}

func TestFramesSurviveAnySplit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		payloads := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 9000)).Draw(t, "payloads")
		var stream []byte
		w := NewPlain(nil)
		for _, p := range payloads {
			stream, _ = w.Append(stream, 93, p)
		}
		chunk := rapid.IntRange(1, 5000).Draw(t, "chunk")
		f := NewPlain(readerFunc(func(p []byte) (int, error) {
			n := copy(p[:min(len(p), chunk)], stream)
			stream = stream[n:]
			if n == 0 {
				return 0, io.EOF
			}
			return n, nil
		}))
		for _, want := range payloads {
			_, got, err := f.Read()
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("got %d bytes, %v, want %d: %s", len(got), err, len(want), cmp.Diff(want, got))
			}
		}
	})
}

// sealed returns a frame that the other side of a handshake reads as inner.
func sealed(f *Framer, inner []byte) []byte {
	out := []byte{noiseMarker, 0, 0}
	binary.BigEndian.PutUint16(out[1:], uint16(len(inner)+tagSize))
	return f.send.aead.Seal(out, f.send.next(), inner, nil)
}
