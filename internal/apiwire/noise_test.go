package apiwire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestVectorNoiseClient(t *testing.T) {
	t.Parallel()
	n := loadVectors(t).Noise
	var out bytes.Buffer
	in := append(append([]byte{}, n.ServerHelloFrame...), n.ServerHandshake...)
	for _, m := range n.ServerToClient {
		in = append(in, m.Frame...)
	}
	f, hello, err := ClientHandshake(script{bytes.NewReader(in), &out},
		ClientNoise{PSK: [32]byte(n.PSK), Random: bytes.NewReader(n.ClientEphemeral)})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), n.ClientFirstWrite) {
		t.Errorf("first write %x, want %x", out.Bytes(), []byte(n.ClientFirstWrite))
	}
	if hello.Name != n.ServerName || hello.MAC != n.ServerMAC || !bytes.Equal(hello.Raw, n.ServerHello) {
		t.Errorf("hello %+v", hello)
	}
	checkFrames(t, f, n.ServerToClient, n.ClientToServer)
	t.Logf("covered the transcript as client: first write, hello, %d + %d messages", len(n.ServerToClient), len(n.ClientToServer))
}

func TestVectorNoiseServer(t *testing.T) {
	t.Parallel()
	n := loadVectors(t).Noise
	var out bytes.Buffer
	in := append([]byte{}, n.ClientFirstWrite...)
	for _, m := range n.ClientToServer {
		in = append(in, m.Frame...)
	}
	f, err := ServerHandshake(script{bytes.NewReader(in), &out}, ServerNoise{
		PSK: [32]byte(n.PSK), Name: n.ServerName, MAC: n.ServerMAC, Random: bytes.NewReader(n.ServerEphemeral)})
	if err != nil {
		t.Fatal(err)
	}
	if want := append(append([]byte{}, n.ServerHelloFrame...), n.ServerHandshake...); !bytes.Equal(out.Bytes(), want) {
		t.Errorf("wrote %x, want %x", out.Bytes(), want)
	}
	checkFrames(t, f, n.ClientToServer, n.ServerToClient)
	t.Logf("covered the transcript as server: hello, handshake, %d + %d messages", len(n.ClientToServer), len(n.ServerToClient))
}

func checkFrames(t *testing.T, f *Framer, read, write []frameVector) {
	t.Helper()
	for _, m := range read {
		id, payload, err := f.Read()
		if err != nil || id != m.ID || !bytes.Equal(payload, m.Inner[4:]) {
			t.Errorf("read %v %x (%v), want %v %x", id, payload, err, m.ID, m.Inner[4:])
		}
	}
	for _, m := range write {
		got, err := f.Append(nil, m.ID, m.Inner[4:])
		if err != nil || !bytes.Equal(got, m.Frame) {
			t.Errorf("framed %x (%v), want %x", got, err, []byte(m.Frame))
		}
	}
}

func TestVectorHelloVariants(t *testing.T) {
	t.Parallel()
	n := loadVectors(t).Noise
	want := []ServerHello{{}, {Name: "office-proxy"}, {Name: strings.Repeat("n", 31), MAC: "aabbccddee01"}, {}}
	for i, c := range n.HelloVariants {
		client, server := handshake(t, ServerNoise{PSK: [32]byte(n.PSK), Hello: c.Payload}, [32]byte(n.PSK))
		if client.err != nil || server.err != nil {
			t.Errorf("%s: %v, %v", c.Note, client.err, server.err)
		}
		if client.hello.Name != want[i].Name || client.hello.MAC != want[i].MAC {
			t.Errorf("%s: %+v", c.Note, client.hello)
		}
	}
	t.Logf("covered %d hello variants", len(n.HelloVariants))
}

type result struct {
	f     *Framer
	hello ServerHello
	err   error
}

// handshake runs both sides against each other.
func handshake(t *testing.T, cfg ServerNoise, key [32]byte) (client, server result) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.f, server.err = ServerHandshake(b, cfg)
		if server.err != nil {
			_ = b.Close()
		}
	}()
	client.f, client.hello, client.err = ClientHandshake(a, ClientNoise{PSK: key})
	if client.err != nil {
		_ = a.Close()
	}
	<-done
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return client, server
}

func TestVectorRejects(t *testing.T) {
	t.Parallel()
	n := loadVectors(t).Noise
	for _, c := range n.Rejects {
		in := append(append([]byte{}, n.ServerHelloFrame...), c.Frame...)
		_, hello, err := ClientHandshake(script{bytes.NewReader(in), io.Discard}, ClientNoise{})
		var key *InvalidKeyError
		var failed *HandshakeError
		if strings.HasPrefix(c.Expect, "InvalidEncryptionKey") {
			if !errors.As(err, &key) || key.Name != n.ServerName || key.MAC != n.ServerMAC || !AuthFailure(err) {
				t.Errorf("%s: got %v", c.Expect, err)
			}
		} else if !errors.As(err, &failed) || AuthFailure(err) {
			t.Errorf("%s: got %v", c.Expect, err)
		}
		if hello.Name != n.ServerName {
			t.Errorf("%s: the hello is lost", c.Expect)
		}
		// The same frame reaches a plaintext client.
		var encrypted *RequiresEncryptionError
		if _, _, err := NewPlain(bytes.NewReader(c.Frame)).Read(); !errors.As(err, &encrypted) {
			t.Errorf("plaintext client: %v", err)
		}
	}
	t.Logf("covered %d rejects", len(n.Rejects))
}

func TestVectorWrongKeyAndTamper(t *testing.T) {
	t.Parallel()
	n := loadVectors(t).Noise
	// The recorded client with the wrong key gets the exact text.
	var out bytes.Buffer
	in := appendNoiseFrame([]byte{1, 0, 0}, []byte{0}, n.WrongPSK.Handshake)
	_, err := ServerHandshake(script{bytes.NewReader(in), &out}, ServerNoise{PSK: [32]byte(n.PSK), Name: n.ServerName, MAC: n.ServerMAC})
	var rejected *RejectedClientError
	want := append(append([]byte{}, n.ServerHelloFrame...), n.Rejects[0].Frame...)
	if !errors.As(err, &rejected) || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("wrong key: %v, wrote %x, want %x", err, out.Bytes(), want)
	}
	// A recorded answer with one bit changed is a wrong key.
	in = appendNoiseFrame(append([]byte{}, n.ServerHelloFrame...), []byte{0}, n.Tampered.Handshake)
	_, _, err = ClientHandshake(script{bytes.NewReader(in), io.Discard}, ClientNoise{PSK: [32]byte(n.PSK), Random: bytes.NewReader(n.ClientEphemeral)})
	var key *InvalidKeyError
	if !errors.As(err, &key) || key.MAC != n.ServerMAC {
		t.Errorf("tampered answer: %v", err)
	}
	// Prologue mismatch: a client hello with a body changes the prologue.
	in = append([]byte{1, 0, 1, 0}, n.ClientFirstWrite[3:]...)
	if _, err := ServerHandshake(script{bytes.NewReader(in), io.Discard}, ServerNoise{PSK: [32]byte(n.PSK)}); !errors.As(err, &rejected) || rejected.Reason != reasonMAC {
		t.Errorf("other prologue: %v", err)
	}
	t.Log("covered wrong_psk, tampered_server_message, prologue_mismatch")
}

func TestServerRejects(t *testing.T) {
	t.Parallel()
	n := loadVectors(t).Noise
	cases := []struct {
		name, reason string
		in           []byte
		hello        bool
	}{
		{"oversized frame", "Bad handshake packet len", []byte{1, 0, 129}, false},
		{"empty handshake", "Empty handshake message", []byte{1, 0, 0, 1, 0, 0}, true},
		{"error byte", "Bad handshake error byte", []byte{1, 0, 0, 1, 0, 1, 9}, true},
		{"short handshake", "Handshake error", []byte{1, 0, 0, 1, 0, 2, 0, 9}, true},
		{"turns to plaintext", badIndicator, []byte{1, 0, 0, 0, 0, 7}, true},
		{"turns to noise", badIndicator, []byte{1, 0, 0, 9, 9, 9}, true},
	}
	for _, c := range cases {
		var out bytes.Buffer
		_, err := ServerHandshake(script{bytes.NewReader(c.in), &out}, ServerNoise{PSK: [32]byte(n.PSK), Name: n.ServerName, MAC: n.ServerMAC})
		var want []byte
		if c.hello {
			want = append(want, n.ServerHelloFrame...)
		}
		want = append(want, rejectFrame(c.reason)...)
		var rejected *RejectedClientError
		if !errors.As(err, &rejected) || !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%s: %v, wrote %q, want %q", c.name, err, out.Bytes(), want)
		}
	}
}

func TestServerModes(t *testing.T) {
	t.Parallel()
	hello := []byte{0, 0, 7}
	noiseHello := []byte{1, 0, 0}
	var mode *ClientModeError

	var out bytes.Buffer
	if _, err := ServerPlain(script{bytes.NewReader(noiseHello), &out}); !errors.As(err, &mode) || mode.Keyed || out.String() != "\x00Bad indicator byte" {
		t.Errorf("plaintext device, Noise client: %v, wrote %q", err, out.String())
	}
	_, _, err := ClientHandshake(script{&out, io.Discard}, ClientNoise{})
	var plaintext *PlaintextDeviceError
	if !errors.As(err, &plaintext) {
		t.Errorf("the client makes of it: %v", err)
	}

	out.Reset()
	if _, err := ServerHandshake(script{bytes.NewReader(hello), &out}, ServerNoise{}); !errors.As(err, &mode) || !mode.Keyed || out.String() != "\x01\x00\x13\x01Bad indicator byte" {
		t.Errorf("keyed device, plaintext client: %v, wrote %q", err, out.String())
	}
	for name, serve := range map[string]func(io.ReadWriter) (*Framer, error){
		"plain": ServerPlain,
		"unprovisioned": func(rw io.ReadWriter) (*Framer, error) {
			return ServerUnprovisioned(rw, ServerNoise{PSK: [32]byte{1}})
		},
	} {
		f, err := serve(script{bytes.NewReader(hello), io.Discard})
		if err != nil {
			t.Fatal(name, err)
		}
		if id, _, err := f.Read(); id != PingRequest || err != nil || f.Encrypted() {
			t.Errorf("%s: %v %v", name, id, err)
		}
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1) // the result of the one server
	go func() {
		_, err := ServerUnprovisioned(b, ServerNoise{PSK: [32]byte{1}, Name: "new"})
		done <- err
	}()
	if f, h, err := ClientHandshake(a, ClientNoise{}); err != nil || h.Name != "new" || !f.Encrypted() {
		t.Errorf("unprovisioned device, zero key: %v %+v", err, h)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestVectorInnerErrors(t *testing.T) {
	t.Parallel()
	n := loadVectors(t).Noise
	for _, c := range n.InnerErrors {
		client, server := handshake(t, ServerNoise{PSK: [32]byte{3}}, [32]byte{3})
		var protocol *ProtocolError
		server.f.r = bytes.NewReader(sealed(client.f, c.Inner))
		if _, _, err := server.f.Read(); !errors.As(err, &protocol) {
			t.Errorf("server reads %x: %v", []byte(c.Inner), err)
		}
		client.f.r = bytes.NewReader(sealed(server.f, c.Inner))
		_, _, err := client.f.Read()
		if short := len(c.Inner) < 4; short != errors.As(err, &protocol) || !short && err != nil {
			t.Errorf("client reads %x: %v", []byte(c.Inner), err)
		}
	}
	t.Logf("covered %d inner frame errors", len(n.InnerErrors))
}

func TestDecryptFailure(t *testing.T) {
	t.Parallel()
	client, server := handshake(t, ServerNoise{PSK: [32]byte{3}}, [32]byte{3})
	frame, err := server.f.Append(nil, PingRequest, nil)
	if err != nil {
		t.Fatal(err)
	}
	frame[5] ^= 1
	client.f.r = bytes.NewReader(frame)
	var decrypt *DecryptError
	if _, _, err := client.f.Read(); !errors.As(err, &decrypt) || !AuthFailure(err) {
		t.Errorf("got %v", err)
	}
}

func TestErrorsAreSafeToLog(t *testing.T) {
	t.Parallel()
	evil := "\x1b[31m\n\xff" + strings.Repeat("x", 1000)
	for _, err := range []error{&InvalidKeyError{Name: evil, MAC: evil}, &HandshakeError{Reason: evil}} {
		if s := err.Error(); strings.ContainsAny(s, "\x1b\n") || !utf8.ValidString(s) || len(s) > 350 {
			t.Errorf("%q", s)
		}
	}
}

func TestHelloLost(t *testing.T) {
	t.Parallel()
	_, _, err := ClientHandshake(script{bytes.NewReader(nil), io.Discard}, ClientNoise{})
	var lost *HelloLostError
	if !errors.As(err, &lost) || !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}
