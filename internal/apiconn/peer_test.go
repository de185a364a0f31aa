package apiconn

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

const testAddr = ble.Address(0xAABBCCDDEEFF)

// recorder is a Handler that writes down what it is told.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.events
	r.events = nil
	return out
}

func (r *recorder) Online(_ *Proxy, i Info)     { r.note("online %s", i.Name) }
func (r *recorder) Offline(_ *Proxy, err error) { r.note("offline %v", err) }
func (r *recorder) Slots(_ *Proxy, s ble.Slots) {
	r.note("slots %d/%d %v", s.Free, s.Limit, s.Allocated)
}
func (r *recorder) LinkUp(_ *Proxy, a ble.Address, mtu int) { r.note("up %v %d", a, mtu) }
func (r *recorder) LinkDown(_ *Proxy, a ble.Address, code int32) {
	r.note("down %v %#x", a, code)
}
func (r *recorder) Notification(_ *Proxy, a ble.Address, h uint16, v []byte) {
	r.note("notify %v %#x %x", a, h, v)
}
func (r *recorder) PairingChanged(_ *Proxy, a ble.Address, paired bool, code int32) {
	r.note("pairing %v %v %d", a, paired, code)
}
func (r *recorder) ScannerState(_ *Proxy, s ble.ScannerState, mode, configured ble.ScannerMode) {
	r.note("scanner %d %v %v", s, mode, configured)
}
func (r *recorder) Adverts(_ *Proxy, _ time.Time, adverts []ble.RawAdvert) {
	for _, a := range adverts {
		r.note("advert %v %v %d %x", a.Address, a.Type, a.RSSI, a.Data)
	}
}

// bench is a Proxy and the far ends of its connections, all in a synctest bubble.
type bench struct {
	t     *testing.T
	p     *Proxy
	rec   *recorder
	log   *bytes.Buffer
	dials chan net.Conn // far ends; a dial waits until the test takes it
	fail  func() error  // makes a dial fail if it returns an error
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, rec: new(recorder), log: new(bytes.Buffer), dials: make(chan net.Conn)}
	cfg := Config{
		Address: "192.0.2.1", Handler: b.rec, ClientInfo: "test",
		Logger: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if b.fail != nil {
				if err := b.fail(); err != nil {
					return nil, err
				}
			}
			near, far := net.Pipe()
			select {
			case b.dials <- far:
				return near, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	}
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.p = p
	t.Cleanup(p.Stop) // after a failed test
	return b
}

// peer is the far end of one connection.
type peer struct {
	t    *testing.T
	conn net.Conn
	f    *apiwire.Framer
}

func (b *bench) accept() *peer {
	return newPeer(b.t, <-b.dials)
}

func newPeer(t *testing.T, conn net.Conn) *peer {
	return &peer{t: t, conn: conn, f: apiwire.NewPlain(conn)}
}

// read skips the question whose the proxy is, which comes when no adverts do, and does not answer it.
func (p *peer) read() proto.Message {
	p.t.Helper()
	for probe := false; ; {
		id, payload, err := p.f.Read()
		if err != nil {
			p.t.Fatalf("the peer cannot read: %v", err)
		}
		m, err := apiwire.Unmarshal(id, payload)
		if err != nil {
			p.t.Fatal(err)
		}
		if r, ok := m.(*apipb.BluetoothGATTReadRequest); ok && r.GetAddress() == uint64(probeAddress) {
			probe = true
			continue
		}
		if probe && id == apiwire.SubscribeBluetoothConnectionsFreeRequest {
			probe = false
			continue
		}
		return m
	}
}

// want reads a message of type M.
func want[M proto.Message](p *peer) M {
	p.t.Helper()
	m := p.read()
	got, ok := m.(M)
	if !ok {
		p.t.Fatalf("got %v {%v}, want %T", apiwire.IDOf(m), m, got)
	}
	return got
}

// quiet checks that nothing comes for d, but the question whose the proxy is.
func (p *peer) quiet(d time.Duration) {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(d))
	for {
		id, payload, err := p.f.Read()
		if err != nil {
			break
		}
		if r, ok := decode(p, id, payload).(*apipb.BluetoothGATTReadRequest); (!ok || r.GetAddress() != uint64(probeAddress)) &&
			id != apiwire.SubscribeBluetoothConnectionsFreeRequest {
			p.t.Fatalf("got %v, want silence", id)
		}
	}
	_ = p.conn.SetReadDeadline(time.Time{})
}

func (p *peer) send(messages ...proto.Message) {
	p.t.Helper()
	var out []byte
	var err error
	for _, m := range messages {
		out, err = p.f.AppendMessage(out, m)
		if err != nil {
			p.t.Fatal(err)
		}
	}
	if _, err := p.conn.Write(out); err != nil {
		p.t.Fatalf("the peer cannot write: %v", err)
	}
}

func (p *peer) raw(text string) {
	p.t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("the peer cannot write: %v", err)
	}
}

// deviceInfo is that of a proxy with firmware that tells nothing about other hosts, so that its bring-up is short.
func deviceInfo() *apipb.DeviceInfoResponse {
	return &apipb.DeviceInfoResponse{
		Name: "kitchen", MacAddress: "AA:BB:CC:DD:EE:01", BluetoothMacAddress: "AA:BB:CC:DD:EE:03",
		EsphomeVersion: "2026.7.4", BluetoothProxyFeatureFlags: 0xff,
	}
}

func freeSlots(allocated ...uint64) *apipb.BluetoothConnectionsFreeResponse {
	return &apipb.BluetoothConnectionsFreeResponse{Free: uint32(3 - len(allocated)), Limit: 3, Allocated: allocated}
}

// hello answers up to the device info.
func (p *peer) hello(info *apipb.DeviceInfoResponse) {
	p.t.Helper()
	want[*apipb.HelloRequest](p)
	want[*apipb.AuthenticationRequest](p)
	p.send(&apipb.HelloResponse{ApiVersionMajor: 1, ApiVersionMinor: 19, Name: info.Name})
	want[*apipb.DeviceInfoRequest](p)
	p.send(info)
}

// bringUp answers everything up to the proof of the subscription.
func (p *peer) bringUp() {
	p.t.Helper()
	p.bringUpAs(deviceInfo())
}

// bringUpAs is bringUp of a device with that info.
func (p *peer) bringUpAs(info *apipb.DeviceInfoResponse) {
	p.t.Helper()
	p.hello(info)
	want[*apipb.SubscribeBluetoothConnectionsFreeRequest](p)
	p.send(freeSlots())
	if m := want[*apipb.SubscribeBluetoothLEAdvertisementsRequest](p); m.GetFlags() != 1 {
		p.t.Errorf("subscribed with flags %d, want raw", m.GetFlags())
	}
	p.send(&apipb.BluetoothScannerStateResponse{State: 2, ConfiguredMode: 0})
}

// online starts the proxy and brings its session up.
func (b *bench) online() *peer {
	b.t.Helper()
	return b.onlineAs(deviceInfo())
}

// onlineAs is online with a device of that info.
func (b *bench) onlineAs(info *apipb.DeviceInfoResponse) *peer {
	b.t.Helper()
	started := make(chan error, 1) // one result
	go func() { started <- b.p.Start(b.t.Context()) }()
	far := b.accept()
	far.bringUpAs(info)
	if err := <-started; err != nil {
		b.t.Fatal(err)
	}
	synctest.Wait()
	b.rec.take()
	return far
}

// connect makes a link to the device with testAddr, through far.
func (b *bench) connect(far *peer) {
	b.t.Helper()
	connected := result(func() (int, error) { return b.p.Connect(b.t.Context(), testAddr, ble.Public, false) })
	far.read()
	far.send(&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Connected: true, Mtu: 100})
	if _, err := connected(); err != nil {
		b.t.Fatal(err)
	}
}

// stop stops the proxy while far answers as the firmware does.
func (b *bench) stop(far *peer) {
	b.t.Helper()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		b.p.Stop()
	}()
	for {
		if _, ok := far.read().(*apipb.DisconnectRequest); ok {
			break
		}
	}
	far.send(&apipb.DisconnectResponse{})
	<-stopped
	_ = far.conn.Close()
}

func (b *bench) expectEvents(events ...string) {
	b.t.Helper()
	synctest.Wait()
	if got := b.rec.take(); !slices.Equal(got, events) {
		b.t.Errorf("events\n %q, want\n %q", got, events)
	}
}

// result runs f and lets the test wait for what it returns.
func result[T any](f func() (T, error)) func() (T, error) {
	type pair struct {
		v   T
		err error
	}
	c := make(chan pair, 1) // one result
	go func() {
		v, err := f()
		c <- pair{v, err}
	}()
	synctest.Wait() // it is under way, or done
	return func() (T, error) { r := <-c; return r.v, r.err }
}

func only(f func() error) func() error {
	wait := result(func() (struct{}, error) { return struct{}{}, f() })
	return func() error { _, err := wait(); return err }
}

func wantError(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("got error %v, want %v", err, target)
	}
}

// decode is the message of a frame.
func decode(p *peer, id apiwire.ID, payload []byte) proto.Message {
	p.t.Helper()
	m, err := apiwire.Unmarshal(id, payload)
	if err != nil {
		p.t.Error(err)
	}
	return m
}
