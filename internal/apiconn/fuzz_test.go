package apiconn

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"os"
	"testing"

	"bluez-esphome/internal/apiwire"
)

// fuzzSession is a session that is up, with requests of several kinds under way.
func fuzzSession(t testing.TB) *session {
	p, err := New(Config{Address: "192.0.2.1", Handler: new(recorder)})
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	_ = far.Close()
	s := newSession(p, near)
	s.f, s.up = apiwire.NewPlain(s), true
	s.w = newWriter(s.f)
	_ = s.ops.enter(newOp(1, opServices, 0, apiwire.BluetoothGATTGetServicesDoneResponse))
	_ = s.ops.enter(newOp(1, opGATT, 1, apiwire.BluetoothGATTReadResponse))
	_ = s.ops.enter(newOp(2, opConnect, 0, apiwire.BluetoothDeviceConnectionResponse))
	return s
}

// FuzzDispatch: no message of a proxy makes a session panic.
func FuzzDispatch(f *testing.F) {
	for id := range 160 {
		f.Add(uint16(id), []byte{0x08, 1, 0x10, 1, 0x1a, 1, 1, 0x22, 1, 1})
	}
	f.Fuzz(func(t *testing.T, id uint16, payload []byte) {
		s := fuzzSession(t)
		_ = s.dispatch(apiwire.ID(id), payload)
		s.ops.fail(io.EOF)
	})
}

// FuzzStream: nor does any succession of messages. Each is 2 bytes number, 2 bytes length and so much payload.
func FuzzStream(f *testing.F) {
	b, err := os.ReadFile("../testdata/esphome-vectors.json")
	if err != nil {
		f.Fatal(err)
	}
	var vectors struct {
		Messages []struct {
			ID      uint16
			Payload string `json:"payload_hex"`
		}
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		f.Fatal(err)
	}
	var all []byte
	for _, m := range vectors.Messages {
		payload, err := hex.DecodeString(m.Payload)
		if err != nil {
			f.Fatal(err)
		}
		one := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, m.ID), uint16(len(payload)))
		one = append(one, payload...)
		f.Add(one)
		all = append(all, one...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, in []byte) {
		s := fuzzSession(t)
		for len(in) >= 4 {
			id := binary.BigEndian.Uint16(in)
			n := min(int(binary.BigEndian.Uint16(in[2:])), len(in)-4)
			if apiwire.ID(id) == apiwire.DisconnectRequest {
				break // it waits for the peer to close
			}
			if s.dispatch(apiwire.ID(id), in[4:4+n]) != nil {
				break
			}
			in = in[4+n:]
		}
		s.ops.fail(io.EOF)
	})
}
