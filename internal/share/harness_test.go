package share

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long a test waits for anything: far longer than it takes.
const limit = 30 * time.Second

const device1 = ble.Address(0xC82B96100001)

// fakeLinks connects to everything at once and keeps what it was asked.
type fakeLinks struct {
	ev LinkEvents

	mu     sync.Mutex
	calls  []string
	held   map[ble.Address]bool
	others map[uint16]bool // handles that somebody else subscribed
	fail   error           // of Connect
	closed bool
	block  chan struct{} // reads end when it is closed; nil: at once
}

// count is how many calls were made since take.
func (l *fakeLinks) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.calls)
}

func (l *fakeLinks) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, fmt.Sprintf(format, args...))
}

func (l *fakeLinks) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.calls
	l.calls = nil
	return c
}

var fakeDB = &ble.Database{Services: []ble.Service{{Handle: 1, EndHandle: 9, UUID: ble.UUID16(0x180f), Characteristics: []ble.Characteristic{
	{Handle: 2, ValueHandle: 3, UUID: ble.UUIDBatteryLevel, Properties: ble.PropRead | ble.PropNotify,
		Descriptors: []ble.Descriptor{{Handle: 4, UUID: ble.UUIDCCCD}, {Handle: 5, UUID: ble.UUID16(0x2904)}}},
}}}}

func (l *fakeLinks) Connect(a ble.Address, _ ble.AddressType, via string, done func(error)) {
	l.note("connect %s via %s", a, via)
	l.mu.Lock()
	fail := l.fail
	l.held[a] = fail == nil
	l.mu.Unlock()
	go func() {
		if fail == nil {
			l.ev.LinkUp(a, 100)
		}
		done(fail)
		if fail == nil {
			l.ev.Resolved(a, fakeDB, 100)
		}
	}()
}

func (l *fakeLinks) Disconnect(a ble.Address, done func()) {
	l.note("disconnect %s", a)
	go func() {
		l.ev.LinkDown(a, ble.DisconnectLocal)
		done()
	}()
}

func (l *fakeLinks) Read(_ ble.Address, h uint16, done func([]byte, error)) {
	l.note("read %d", h)
	l.mu.Lock()
	block := l.block
	l.mu.Unlock()
	go func() {
		if block != nil {
			<-block
		}
		done([]byte("value"), nil)
	}()
}

func (l *fakeLinks) ReadDescriptor(_ ble.Address, h uint16, done func([]byte, error)) {
	l.note("read descriptor %d", h)
	go done(nil, ble.ATTReadNotPermitted)
}

func (l *fakeLinks) Write(_ ble.Address, h uint16, v []byte, done func(error)) {
	l.note("write %d %x", h, v)
	go done(nil)
}

func (l *fakeLinks) WriteCommand(_ ble.Address, h uint16, v []byte, done func(error)) {
	l.note("command %d %x", h, v)
	go done(nil)
}

func (l *fakeLinks) WriteDescriptor(_ ble.Address, h uint16, v []byte, done func(error)) {
	l.note("write descriptor %d %x", h, v)
	go done(nil)
}

func (l *fakeLinks) Subscribe(_ ble.Address, h uint16, done func(error)) {
	l.note("subscribe %d", h)
	go done(nil)
}

func (l *fakeLinks) Unsubscribe(_ ble.Address, h uint16) { l.note("unsubscribe %d", h) }

func (l *fakeLinks) SubscribedElsewhere(_ ble.Address, h uint16) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.others[h]
}

func (l *fakeLinks) Pair(_ ble.Address, done func(error)) { go done(&ble.PairError{Reason: 5}) }
func (l *fakeLinks) Unpair(_ context.Context, _ ble.Address, proxy string) error {
	l.note("unpair at %s", proxy)
	return nil
}
func (l *fakeLinks) ClearCache(context.Context, ble.Address) (bool, error) { return true, nil }
func (l *fakeLinks) SetConnectionParams(context.Context, ble.Address, uint16, uint16, uint16, uint16) error {
	return ble.ErrNotConnected
}
func (l *fakeLinks) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

// bench is a Server with one shared proxy.
type bench struct {
	t     testing.TB
	s     *Server
	p     *Proxy
	port  int
	modes chan string

	mu    sync.Mutex
	links []*fakeLinks
}

var testInfo = Info{
	Name: "kitchen", FriendlyName: "Kitchen", MAC: "24:6F:28:00:00:01", BluetoothMAC: "24:6F:28:00:00:03", Version: "2026.10.0",
	Model: "esp32dev", APIMinor: 19, Features: 0xff,
}

func newBench(t testing.TB) *bench {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, port: ln.Addr().(*net.TCPAddr).Port, modes: make(chan string, 100)}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	b.s = New(Config{
		Listen: "127.0.0.1", BasePort: uint16(b.port), Names: "{name}-shared", Identity: 0x020000000001,
		Links: func(ev LinkEvents) Links {
			l := &fakeLinks{ev: ev, held: map[ble.Address]bool{}, others: map[uint16]bool{}}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.links = append(b.links, l)
			return l
		},
		Index: func(ble.Address) (int, bool) { return 0, true }, ModeChanged: func(name string) { b.modes <- name },
		Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(b.s.Close)
	if b.p, err = b.s.Up(testInfo); err != nil {
		t.Fatal(err)
	}
	b.p.Slots(ble.Slots{Known: true, Free: 3, Limit: 3, HasAllocated: true})
	return b
}

// client is another host.
type client struct {
	t    testing.TB
	conn net.Conn
	f    *apiwire.Framer
}

func (b *bench) dial(requests ...proto.Message) *client {
	b.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)))
		if err != nil {
			if time.Now().After(deadline) {
				b.t.Fatal(err)
			}
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(2 * limit))
		b.t.Cleanup(func() { _ = conn.Close() })
		c := &client{t: b.t, conn: conn, f: apiwire.NewPlain(conn)}
		hello := &apipb.HelloRequest{ClientInfo: "client", ApiVersionMajor: 1, ApiVersionMinor: 14}
		_ = c.write(append([]proto.Message{hello}, requests...)...) // a failure shows in the answer
		if err = c.greeted(); err == nil {
			return c
		}
		_ = conn.Close() // the listener was just ending: a connection that it had not taken yet is reset
		if time.Now().After(deadline) {
			b.t.Fatal(err)
		}
	}
}

// enter dials and waits until the client is counted among the hosts. The hello is answered before it is, so that the answer to a
// later request has to be waited for.
func (b *bench) enter() *client {
	b.t.Helper()
	c := b.dial(&apipb.PingRequest{})
	want[*apipb.PingResponse](c)
	return c
}

// greeted waits for the answer to the hello.
func (c *client) greeted() error {
	id, _, err := c.f.Read()
	if err == nil && id != apiwire.HelloResponse {
		err = fmt.Errorf("%v instead of HelloResponse", id)
	}
	return err
}

func (c *client) send(list ...proto.Message) {
	c.t.Helper()
	if err := c.write(list...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) write(list ...proto.Message) error {
	var buf []byte
	for _, m := range list {
		var err error
		if buf, err = c.f.AppendMessage(buf, m); err != nil {
			return err
		}
	}
	_, err := c.conn.Write(buf)
	return err
}

// want reads until a message of the type comes.
func want[M proto.Message](c *client) M {
	c.t.Helper()
	for {
		id, payload, err := c.f.Read()
		if err != nil {
			var zero M
			c.t.Fatalf("no %T: %v", zero, err)
		}
		m, err := apiwire.Unmarshal(id, payload)
		if err != nil {
			c.t.Fatal(err)
		}
		if m, ok := m.(M); ok {
			return m
		}
	}
}

var subscribe = &apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1}

// subscriber subscribes and waits until that took effect.
func (b *bench) subscriber(flags uint32) *client {
	b.p.Scanner(ble.ScannerRunning, ble.ScanPassive, ble.ScanPassive)
	c := b.dial(&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: flags})
	want[*apipb.BluetoothScannerStateResponse](c)
	return c
}

func batch(n int, size int) []ble.RawAdvert {
	out := make([]ble.RawAdvert, size)
	for i := range out {
		data := []byte{2, 1, 6, 7, 0xff, 0xff, 0xff, byte(n >> 16), byte(n >> 8), byte(n), byte(i)}
		out[i] = ble.RawAdvert{Address: device1 + ble.Address(i), Type: 1, RSSI: -60, Data: data}
	}
	return out
}
