package apiwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

// FuzzMessages: no payload makes a decoder of any message panic, and what was decoded can be encoded again.
func FuzzMessages(f *testing.F) {
	for _, m := range loadVectors(f).Messages {
		f.Add(uint16(m.ID), []byte(m.Payload))
		if m.FirmwarePayload != nil {
			f.Add(uint16(m.ID), []byte(m.FirmwarePayload))
		}
	}
	for id := range uint16(256) {
		if New(ID(id)) != nil {
			f.Add(id, []byte{0x08, 1, 0x10, 1, 0x1a, 1, 1, 0x22, 1, 1})
		}
	}
	f.Fuzz(func(t *testing.T, id uint16, payload []byte) {
		var a RawAdvert
		for rest := payload; ; {
			n, err := DecodeRawAdvert(rest, &a)
			if n == 0 {
				break
			}
			if err != nil {
				t.Fatalf("%d bytes decoded, and %v", n, err)
			}
			rest = rest[n:]
		}
		if New(ID(id)) == nil {
			return
		}
		m, err := Unmarshal(ID(id), payload)
		if err != nil {
			return
		}
		again, err := MarshalFirmware(m)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if _, err := Unmarshal(ID(id), again); err != nil {
			t.Fatalf("%T does not survive: %v", m, err)
		}
	})
}

// noisePair is both sides of the recorded handshake, so that each input means the same every time.
func noisePair(t testing.TB, n noiseVectors) (client, server *Framer) {
	t.Helper()
	in := append(append([]byte{}, n.ServerHelloFrame...), n.ServerHandshake...)
	client, _, err := ClientHandshake(script{bytes.NewReader(in), io.Discard},
		ClientNoise{PSK: [32]byte(n.PSK), Random: bytes.NewReader(n.ClientEphemeral)})
	if err != nil {
		t.Fatal(err)
	}
	server, err = ServerHandshake(script{bytes.NewReader(n.ClientFirstWrite), io.Discard}, ServerNoise{
		PSK: [32]byte(n.PSK), Name: n.ServerName, MAC: n.ServerMAC, Random: bytes.NewReader(n.ServerEphemeral)})
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

// FuzzNoiseRead feeds both sides of an encrypted connection: inner is cut into messages, each behind a byte that
// is its length, that are encrypted as the other side does it; raw comes behind them as it is.
func FuzzNoiseRead(f *testing.F) {
	n := loadVectors(f).Noise
	for _, m := range append(n.ClientToServer, n.ServerToClient...) {
		f.Add(append([]byte{byte(min(len(m.Inner), 255))}, m.Inner...), []byte(m.Frame))
	}
	for _, c := range n.InnerErrors {
		f.Add(append([]byte{byte(len(c.Inner))}, c.Inner...), []byte{1, 0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, inner, raw []byte) {
		client, server := noisePair(t, n)
		for _, pair := range [][2]*Framer{{client, server}, {server, client}} {
			writer, reader := pair[0], pair[1]
			var stream []byte
			whole := 0
			for in := inner; len(in) > 0; {
				size := min(int(in[0]), len(in)-1)
				m := in[1 : 1+size]
				in = in[1+size:]
				stream = append(stream, sealed(writer, m)...)
				if size < innerHeader || reader.strict && int(binary.BigEndian.Uint16(m[2:])) > size-innerHeader {
					break // the connection ends here
				}
				whole++
			}
			reader.r = bytes.NewReader(append(stream, raw...))
			for read := 0; ; read++ {
				reader.Buffered()
				id, payload, err := reader.Read()
				if err != nil {
					var protocol *ProtocolError
					if read < whole && !errors.As(err, &protocol) {
						t.Fatalf("message %d of %d: %v", read, whole, err)
					}
					break
				}
				if New(id) != nil {
					_, _ = Unmarshal(id, payload)
				}
			}
		}
	})
}
