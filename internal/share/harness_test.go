package share

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/links"
	"bluez-esphome/internal/links/linkstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long a test waits: so long that only what hangs is caught, however busy the machine is.
const limit = 2 * time.Minute

const device1 = ble.Address(0xC82B96100001)

// fakeLinks are links that a host has: they connect to everything at once and keep what they were asked.
type fakeLinks struct {
	*linkstest.Links
	ev     links.Events
	fail   atomic.Pointer[ble.ConnectError] // of Connect
	closed atomic.Bool
	block  atomic.Pointer[chan struct{}] // reads end when it is closed; nil: at once
}

var fakeDB = &ble.Database{Services: []ble.Service{{Handle: 1, EndHandle: 9, UUID: ble.UUID16(0x180f), Characteristics: []ble.Characteristic{
	{Handle: 2, ValueHandle: 3, UUID: ble.UUIDBatteryLevel, Properties: ble.PropRead | ble.PropNotify,
		Descriptors: []ble.Descriptor{{Handle: 4, UUID: ble.UUIDCCCD}, {Handle: 5, UUID: ble.UUID16(0x2904)}}},
}}}}

func newFakeLinks(t testing.TB, ev links.Events) *fakeLinks {
	l := &fakeLinks{Links: linkstest.NewLinks(t), ev: ev}
	l.Keep()
	l.Auto("Connect", func(op *linkstest.Op) {
		if fail := l.fail.Load(); fail != nil {
			op.End(fail)
			return
		}
		l.ev.LinkUp(op.Addr, 100)
		op.End(nil)
		l.ev.Resolved(op.Addr, fakeDB, 100)
	})
	l.Auto("Disconnect", func(op *linkstest.Op) {
		l.ev.LinkDown(op.Addr, ble.DisconnectLocal)
		op.End(nil)
	})
	l.Auto("Read", func(op *linkstest.Op) {
		if block := l.block.Load(); block != nil {
			<-*block
		}
		op.Answer([]byte("value")...)
	})
	l.Auto("ReadDescriptor", func(op *linkstest.Op) { op.End(ble.ATTReadNotPermitted) })
	l.Auto("Pair", func(op *linkstest.Op) { op.End(&ble.PairError{Reason: 5}) })
	l.Auto("SetConnectionParams", func(op *linkstest.Op) { op.End(ble.ErrNotConnected) })
	l.Auto("Close", func(*linkstest.Op) { l.closed.Store(true) })
	l.Auto("Unsubscribe", func(*linkstest.Op) {})
	l.Auto("DropCache", func(*linkstest.Op) {})
	for _, kind := range []string{"Write", "WriteCommand", "WriteDescriptor", "Listen", "Ignore", "Unpair", "ClearCache"} {
		l.Auto(kind, func(op *linkstest.Op) { op.End(nil) })
	}
	return l
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
	ID:   "kitchen",
	Name: "kitchen", DeviceName: "kitchen", FriendlyName: "Kitchen", MAC: "24:6F:28:00:00:01", BluetoothMAC: "24:6F:28:00:00:03", Version: "2026.10.0",
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
		Listen: "127.0.0.1", BasePort: uint16(b.port), Names: "{name}-shared", Installation: 0x020000000001,
		Links: func(_ Host, ev links.Events) links.Links {
			l := newFakeLinks(t, ev)
			b.mu.Lock()
			defer b.mu.Unlock()
			b.links = append(b.links, l)
			return l
		},
		Index: func(ble.Address) (int, bool) { return 0, true }, ModeChanged: func(name string) { b.modes <- name },
		Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(b.s.Close)
	b.p, err = b.s.Up(testInfo)
	if err != nil {
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
	return b.dialAs("client", requests...)
}

// dialAs is dial by a client of another name.
func (b *bench) dialAs(name string, requests ...proto.Message) *client {
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
		hello := &apipb.HelloRequest{ClientInfo: name, ApiVersionMajor: 1, ApiVersionMinor: 14}
		_ = c.write(append([]proto.Message{hello}, requests...)...) // a failure shows in the answer
		err = c.greeted()
		if err == nil {
			return c
		}
		_ = conn.Close() // the listener was just ending: a connection that it had not taken yet is reset
		if time.Now().After(deadline) {
			b.t.Fatal(err)
		}
	}
}

// enter dials and waits until the client is counted among the hosts. The hello is answered before it is, so that the
// answer to a later request has to be waited for.
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
		buf, err = c.f.AppendMessage(buf, m)
		if err != nil {
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
