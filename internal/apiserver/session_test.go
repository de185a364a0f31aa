package apiserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder notes the calls of a session, one line each.
type recorder struct {
	mu      sync.Mutex
	calls   []string
	session *Session
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, fmt.Sprintf(format, args...))
}

func (r *recorder) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := strings.Join(r.calls, "; ")
	r.calls = nil
	return out
}

func (r *recorder) Opened(s *Session)                         { r.session = s; r.note("opened") }
func (r *recorder) Closed(*Session)                           { r.note("closed") }
func (r *recorder) SubscribeAdverts(_ *Session, raw bool)     { r.note("subscribe %v", raw) }
func (r *recorder) UnsubscribeAdverts(*Session)               { r.note("unsubscribe") }
func (r *recorder) SubscribeSlots(*Session)                   { r.note("slots") }
func (r *recorder) SetScanMode(_ *Session, m ble.ScannerMode) { r.note("scan %v", m) }
func (r *recorder) Connect(_ *Session, c ConnectRequest) {
	r.note("connect %s %d %v cached=%v legacy=%v", c.Address, c.Type, c.HasType, c.Cached, c.Legacy)
}
func (r *recorder) Disconnect(_ *Session, a ble.Address)     { r.note("disconnect %s", a) }
func (r *recorder) Pair(_ *Session, a ble.Address)           { r.note("pair %s", a) }
func (r *recorder) Unpair(_ *Session, a ble.Address)         { r.note("unpair %s", a) }
func (r *recorder) ClearCache(_ *Session, a ble.Address)     { r.note("clear %s", a) }
func (r *recorder) GetServices(_ *Session, a ble.Address)    { r.note("services %s", a) }
func (r *recorder) Read(_ *Session, a ble.Address, h uint16) { r.note("read %s %d", a, h) }
func (r *recorder) Notify(_ *Session, a ble.Address, h uint16, on bool) {
	r.note("notify %s %d %v", a, h, on)
}
func (r *recorder) Write(_ *Session, a ble.Address, h uint16, v []byte, response bool) {
	r.note("write %s %d %x %v", a, h, v, response)
}
func (r *recorder) SetConnectionParams(_ *Session, a ble.Address, p ble.ConnectionParams) {
	r.note("params %s %v", a, p)
}

// rig is a session over a pipe, in a bubble, with a client that need not read.
type rig struct {
	t      *testing.T
	back   *recorder
	conn   net.Conn
	framer *apiwire.Framer
	ended  chan error
	cancel context.CancelFunc
}

func modern() Config {
	return Config{
		Device: func() Device {
			return Device{Name: "office", MAC: "AA:BB:CC:00:00:01", BluetoothMAC: "AA:BB:CC:00:00:03",
				ESPHomeVersion: "2026.10.0", Features: 0xff}
		},
		APIMinor: 19, AuthOnHello: true, Log: slog.New(slog.DiscardHandler),
	}
}

func withSession(t *testing.T, cfg Config, fn func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		r := &rig{t: t, back: &recorder{}, conn: client, framer: apiwire.NewPlain(client), ended: make(chan error, 1), cancel: cancel}
		go func() { r.ended <- Serve(ctx, server, cfg, r.back) }()
		fn(r)
		_ = client.Close()
		synctest.Wait()
	})
}

func (r *rig) send(ms ...proto.Message) {
	r.t.Helper()
	var buf []byte
	for _, m := range ms {
		var err error
		buf, err = r.framer.AppendMessage(buf, m)
		if err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := r.conn.Write(buf); err != nil {
		r.t.Fatalf("cannot send: %v", err)
	}
}

func (r *rig) want(id apiwire.ID) proto.Message {
	r.t.Helper()
	got, payload, err := r.framer.Read()
	if err != nil || got != id {
		r.t.Fatalf("got %v, %v; want %v", got, err, id)
	}
	m, err := apiwire.Unmarshal(id, payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *rig) hello() {
	r.t.Helper()
	r.send(&apipb.HelloRequest{ClientInfo: "test\n" + strings.Repeat("x", 40), ApiVersionMajor: 1, ApiVersionMinor: 12})
	r.want(apiwire.HelloResponse)
	synctest.Wait()
	if got := r.back.take(); got != "opened" {
		r.t.Errorf("after hello: %s", got)
	}
}

func (r *rig) wantEnd(want error) {
	r.t.Helper()
	if err := <-r.ended; !errors.Is(err, want) {
		r.t.Errorf("the session ended with %v, want %v", err, want)
	}
}

func TestHelloAndInfo(t *testing.T) {
	withSession(t, modern(), func(r *rig) {
		r.send(&apipb.HelloRequest{ClientInfo: "a", ApiVersionMajor: 1, ApiVersionMinor: 19}, &apipb.AuthenticationRequest{})
		if m := r.want(apiwire.HelloResponse).(*apipb.HelloResponse); m.GetApiVersionMajor() != 1 || m.GetApiVersionMinor() != 19 ||
			m.GetServerInfo() != "2026.10.0" || m.GetName() != "office" {
			t.Errorf("got %v", m)
		}
		r.send(&apipb.DeviceInfoRequest{}, &apipb.DeviceCapabilitiesRequest{}, &apipb.NoiseEncryptionSetKeyRequest{})
		if m := r.want(apiwire.DeviceInfoResponse).(*apipb.DeviceInfoResponse); m.GetBluetoothProxyFeatureFlags() != 0xff ||
			m.GetBluetoothMacAddress() != "AA:BB:CC:00:00:03" || m.GetApiEncryptionSupported() {
			t.Errorf("got %v", m)
		}
		if m := r.want(apiwire.DeviceCapabilitiesResponse).(*apipb.DeviceCapabilitiesResponse); m.GetBluetoothProxy().GetFeatureFlags() != 0xff {
			t.Errorf("got %v", m)
		}
		if m := r.want(apiwire.NoiseEncryptionSetKeyResponse).(*apipb.NoiseEncryptionSetKeyResponse); m.GetSuccess() {
			t.Errorf("a key was set")
		}
		// Entities: none. An unknown message is skipped.
		frame, _ := r.framer.Append(nil, 9999, []byte{1, 2, 3})
		frame, _ = r.framer.Append(frame, apiwire.ListEntitiesRequest, nil)
		if _, err := r.conn.Write(frame); err != nil {
			t.Fatal(err)
		}
		if id, _, err := r.framer.Read(); id != apiwire.ListEntitiesDoneResponse || err != nil {
			t.Errorf("got %v, %v", id, err)
		}
		r.send(&apipb.PingRequest{})
		r.want(apiwire.PingResponse)
		r.send(&apipb.DisconnectRequest{})
		r.want(apiwire.DisconnectResponse)
		r.wantEnd(ErrDisconnected)
		if got := r.back.take(); got != "opened; closed" {
			t.Errorf("calls: %s", got)
		}
	})
}

func TestRequests(t *testing.T) {
	const a = 0xFFFFAABBCCDDEEFF // the upper 16 bits are not part of it
	device := func(kind int32, has bool) proto.Message {
		return &apipb.BluetoothDeviceRequest{Address: a, RequestType: apipb.BluetoothDeviceRequestType(kind), HasAddressType: has, AddressType: 1}
	}
	tests := []struct {
		m    proto.Message
		want string
	}{
		{&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1}, "subscribe true"},
		{&apipb.SubscribeBluetoothLEAdvertisementsRequest{}, "subscribe false"},
		{&apipb.UnsubscribeBluetoothLEAdvertisementsRequest{}, "unsubscribe"},
		{&apipb.SubscribeBluetoothConnectionsFreeRequest{}, "slots"},
		{&apipb.BluetoothScannerSetModeRequest{Mode: 1}, "scan active"},
		{&apipb.BluetoothScannerSetModeRequest{Mode: 77}, "scan passive"},
		{device(0, true), "connect AA:BB:CC:DD:EE:FF 1 true cached=false legacy=true"},
		{device(1, false), "disconnect AA:BB:CC:DD:EE:FF"},
		{device(2, false), "pair AA:BB:CC:DD:EE:FF"},
		{device(3, false), "unpair AA:BB:CC:DD:EE:FF"},
		{device(4, true), "connect AA:BB:CC:DD:EE:FF 1 true cached=true legacy=false"},
		{device(5, false), "connect AA:BB:CC:DD:EE:FF 1 false cached=false legacy=false"},
		{device(6, false), "clear AA:BB:CC:DD:EE:FF"},
		{device(7, false), ""},
		{&apipb.BluetoothGATTGetServicesRequest{Address: a}, "services AA:BB:CC:DD:EE:FF"},
		{&apipb.BluetoothGATTReadRequest{Address: a, Handle: 7}, "read AA:BB:CC:DD:EE:FF 7"},
		{&apipb.BluetoothGATTReadDescriptorRequest{Address: a, Handle: 8}, "read AA:BB:CC:DD:EE:FF 8"},
		{&apipb.BluetoothGATTWriteRequest{Address: a, Handle: 7, Data: []byte{1}}, "write AA:BB:CC:DD:EE:FF 7 01 false"},
		{&apipb.BluetoothGATTWriteRequest{Address: a, Handle: 7, Response: true}, "write AA:BB:CC:DD:EE:FF 7  true"},
		{&apipb.BluetoothGATTWriteDescriptorRequest{Address: a, Handle: 8, Data: []byte{2}}, "write AA:BB:CC:DD:EE:FF 8 02 true"},
		{&apipb.BluetoothGATTNotifyRequest{Address: a, Handle: 8, Enable: true}, "notify AA:BB:CC:DD:EE:FF 8 true"},
		{&apipb.BluetoothSetConnectionParamsRequest{Address: a, MinInterval: 6, MaxInterval: 70000, Timeout: 9}, "params AA:BB:CC:DD:EE:FF {6 65535 0 9}"},
		{&apipb.GetTimeResponse{EpochSeconds: 1}, ""},
		{&apipb.SubscribeLogsRequest{}, ""},
	}
	withSession(t, modern(), func(r *rig) {
		r.hello()
		for _, tt := range tests {
			r.send(tt.m)
			synctest.Wait()
			if got := r.back.take(); got != tt.want {
				t.Errorf("%T %v: got %q, want %q", tt.m, tt.m, got, tt.want)
			}
		}
	})
}

func TestAuthentication(t *testing.T) {
	password := modern()
	password.AuthOnHello, password.AnswerAuth, password.Password = false, true, "hunter2"
	none := password
	none.Password = ""
	onHello := modern()
	onHello.AnswerAuth = true
	tests := []struct {
		name   string
		cfg    Config
		send   []proto.Message
		want   []apiwire.ID
		opened bool
		end    error
	}{
		{"right", password, []proto.Message{&apipb.HelloRequest{}, &apipb.AuthenticationRequest{Password: "hunter2"}},
			[]apiwire.ID{2, 4}, true, nil},
		{"wrong", password, []proto.Message{&apipb.HelloRequest{}, &apipb.AuthenticationRequest{Password: "x"}},
			[]apiwire.ID{2, 4}, false, ErrPassword},
		{"none needed", none, []proto.Message{&apipb.HelloRequest{}, &apipb.AuthenticationRequest{}}, []apiwire.ID{2, 4}, true, nil},
		{"info before it", none, []proto.Message{&apipb.HelloRequest{}, &apipb.DeviceInfoRequest{}}, []apiwire.ID{2, 10}, false, nil},
		{"request before it", none, []proto.Message{&apipb.HelloRequest{}, &apipb.SubscribeBluetoothConnectionsFreeRequest{}},
			[]apiwire.ID{2}, false, ErrNotAuthenticated},
		{"before hello", none, []proto.Message{&apipb.AuthenticationRequest{}}, nil, false, ErrNotAuthenticated},
		{"on hello", onHello, []proto.Message{&apipb.HelloRequest{}, &apipb.AuthenticationRequest{}}, []apiwire.ID{2, 4}, true, nil},
		{"no hello", modern(), []proto.Message{&apipb.DeviceInfoRequest{}}, nil, false, ErrNotAuthenticated},
		{"ping before hello", modern(), []proto.Message{&apipb.PingRequest{}}, []apiwire.ID{8}, false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			withSession(t, tt.cfg, func(r *rig) {
				r.send(tt.send...)
				for i, id := range tt.want {
					if m, ok := r.want(id).(*apipb.AuthenticationResponse); ok && m.GetInvalidPassword() != (tt.end == ErrPassword) {
						t.Errorf("answer %d: %v", i, m)
					}
				}
				if tt.end != nil {
					r.wantEnd(tt.end)
				}
				synctest.Wait()
				if got := strings.HasPrefix(r.back.take(), "opened"); got != tt.opened {
					t.Errorf("opened: %v", got)
				}
			})
		})
	}
}

func TestKeepAlive(t *testing.T) {
	withSession(t, modern(), func(r *rig) {
		start := time.Now()
		r.hello()
		pings := 0
		for range 3 {
			r.want(apiwire.PingRequest)
			pings++
			if d := time.Since(start); d < 60*time.Second || d > 61*time.Second {
				t.Errorf("ping %d after %v", pings, d)
			}
			start = time.Now()
			r.send(&apipb.PingResponse{})
		}
		// Silence: one more ping, then the end at 150 s.
		r.want(apiwire.PingRequest)
		r.wantEnd(ErrSilent)
		if d := time.Since(start); d < 149*time.Second || d > 151*time.Second {
			t.Errorf("gave up after %v", d)
		}
	})
}

func TestSetupTimeout(t *testing.T) {
	key := [32]byte{1}
	keyed := modern()
	keyed.PSK = &key
	for name, cfg := range map[string]Config{"plain": modern(), "noise": keyed} {
		t.Run(name, func(t *testing.T) {
			withSession(t, cfg, func(r *rig) {
				start := time.Now()
				r.wantEnd(ErrSilent)
				if d := time.Since(start); d != time.Minute {
					t.Errorf("gave up after %v", d)
				}
				if got := r.back.take(); got != "" {
					t.Errorf("calls: %s", got)
				}
			})
		})
	}
}

func TestWrongMode(t *testing.T) {
	withSession(t, modern(), func(r *rig) {
		go func() { _, _ = r.conn.Write([]byte{1, 0, 0}) }()
		buf := make([]byte, 64)
		n, _ := r.conn.Read(buf)
		if got := string(buf[:n]); got != "\x00Bad indicator byte" {
			t.Errorf("got %q", got)
		}
		var mode *apiwire.ClientModeError
		if err := <-r.ended; !errors.As(err, &mode) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDisconnectFromThisSide(t *testing.T) {
	for _, polite := range []bool{true, false} {
		t.Run(fmt.Sprint(polite), func(t *testing.T) {
			withSession(t, modern(), func(r *rig) {
				r.hello()
				start := time.Now()
				r.back.session.Disconnect(ReasonUnspecified)
				r.want(apiwire.DisconnectRequest)
				if polite {
					r.send(&apipb.DisconnectResponse{})
					r.wantEnd(ErrDisconnected)
				} else {
					r.wantEnd(ErrSilent)
					if d := time.Since(start); d != goodbyeTimeout {
						t.Errorf("gave up after %v", d)
					}
				}
			})
		})
	}
}

func TestCloseAndContext(t *testing.T) {
	boom := errors.New("boom")
	withSession(t, modern(), func(r *rig) {
		r.hello()
		r.back.session.Close(boom)
		r.wantEnd(boom)
	})
	withSession(t, modern(), func(r *rig) {
		r.hello()
		r.cancel()
		r.wantEnd(context.Canceled)
	})
}

func TestUndecodableMessageEndsTheSession(t *testing.T) {
	withSession(t, modern(), func(r *rig) {
		r.hello()
		frame, _ := r.framer.Append(nil, apiwire.BluetoothGATTReadRequest, []byte{0x08})
		_, _ = r.conn.Write(frame)
		var protocol *apiwire.ProtocolError
		if err := <-r.ended; !errors.As(err, &protocol) {
			t.Errorf("got %v", err)
		}
	})
}

// wide is a device with other features.
type wide struct{ *recorder }

func (w wide) Other(_ *Session, id apiwire.ID, payload []byte) {
	w.note("other %d %x", uint16(id), payload)
}

func TestOtherFeaturesGoToTheBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		back := &recorder{}
		ended := make(chan error, 1)
		go func() { ended <- Serve(context.Background(), server, modern(), wide{back}) }()
		f := apiwire.NewPlain(client)
		send := func(id apiwire.ID, payload []byte) {
			t.Helper()
			buf, err := f.Append(nil, id, payload)
			if err == nil {
				_, err = client.Write(buf)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		send(apiwire.HelloRequest, nil)
		if id, _, err := f.Read(); err != nil || id != apiwire.HelloResponse {
			t.Fatal(id, err)
		}
		for _, id := range []apiwire.ID{apiwire.ListEntitiesRequest, 20, apiwire.SubscribeLogsRequest, 32, apiwire.GetTimeRequest, 999, apiwire.PingResponse} {
			send(id, []byte{8, 1})
		}
		send(apiwire.SubscribeBluetoothConnectionsFreeRequest, nil) // the proxy's own messages don't
		synctest.Wait()
		want := "opened; other 11 0801; other 20 0801; other 28 0801; other 32 0801; other 36 0801; other 999 0801; slots"
		if got := back.take(); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		back.session.Send(25, []byte{1, 2})
		if id, payload, err := f.Read(); err != nil || id != 25 || string(payload) != "\x01\x02" {
			t.Errorf("got %v %x, %v", id, payload, err)
		}
		_ = client.Close()
		<-ended
	})
}

func TestNothingGoesToTheBackendBeforeHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		back := &recorder{}
		ended := make(chan error, 1)
		go func() { ended <- Serve(context.Background(), server, modern(), wide{back}) }()
		buf, err := apiwire.NewPlain(nil).Append(nil, 32, []byte{8, 1})
		if err == nil {
			_, err = client.Write(buf)
		}
		if err := errors.Join(err, <-ended); !errors.Is(err, ErrNotAuthenticated) {
			t.Errorf("ended by %v", err)
		}
		if got := back.take(); got != "" {
			t.Errorf("got %s", got)
		}
		_ = client.Close()
	})
}
