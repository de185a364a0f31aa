package proxysim

import (
	"context"
	"errors"
	"fmt"
	"net"
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

const (
	goldenMain   ble.Address = 0x00AA01010001
	goldenBeacon ble.Address = 0xC41122334455
)

// world is an air with proxies, within a synctest bubble.
type world struct {
	t       *testing.T
	air     *Air
	ctx     context.Context
	wg      sync.WaitGroup
	proxies map[string]*Proxy
}

func goldenSpecs(t *testing.T) []DeviceSpec {
	t.Helper()
	specs, err := LoadPeripherals("testdata/golden-peripheral.json")
	if err != nil {
		t.Fatal(err)
	}
	return specs
}

// inWorld runs fn in a bubble with an air of specs.
func inWorld(t *testing.T, specs []DeviceSpec, fn func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		air, err := NewAir(specs)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, air: air, ctx: ctx, proxies: map[string]*Proxy{}}
		defer w.wg.Wait()
		defer cancel()
		w.wg.Go(func() { _ = air.Run(ctx) })
		fn(w)
	})
}

func (w *world) proxy(cfg ProxyConfig) *Proxy {
	w.t.Helper()
	if cfg.Name == "" {
		cfg.Name = "kitchen"
	}
	p, err := NewProxy(w.air, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.proxies[cfg.Name] = p
	return p
}

// peer is a plaintext API client.
type peer struct {
	w     *world
	t     *testing.T
	conn  net.Conn
	f     *apiwire.Framer
	msgs  chan received
	ended chan error // of the proxy's side
}

type received struct {
	m  proto.Message
	at time.Time
}

// dial connects a peer and says hello.
func (w *world) dial(p *Proxy) *peer {
	w.t.Helper()
	<-time.After(time.Second) // the proxy scans
	c := w.connect(p)
	c.send(&apipb.HelloRequest{ClientInfo: "test", ApiVersionMajor: 1, ApiVersionMinor: 19}, &apipb.AuthenticationRequest{})
	expect[*apipb.HelloResponse](c)
	if p.fw.passwords() {
		expect[*apipb.AuthenticationResponse](c)
	}
	return c
}

// connect connects a peer that says nothing yet.
func (w *world) connect(p *Proxy) *peer {
	client, server := net.Pipe()
	c := &peer{w: w, t: w.t, conn: client, f: apiwire.NewPlain(client), msgs: make(chan received, 10000), ended: make(chan error, 1)}
	w.wg.Go(func() { c.ended <- p.ServeConn(w.ctx, server) })
	w.wg.Go(func() {
		defer close(c.msgs)
		for {
			id, payload, err := c.f.Read()
			if err != nil {
				return
			}
			m, err := apiwire.Unmarshal(id, payload)
			if err != nil {
				w.t.Errorf("cannot decode %v: %v", id, err)
				return
			}
			c.msgs <- received{m, time.Now()}
		}
	})
	return c
}

func (c *peer) send(ms ...proto.Message) {
	c.t.Helper()
	var buf []byte
	for _, m := range ms {
		payload, err := proto.Marshal(m)
		if err != nil {
			c.t.Fatal(err)
		}
		buf, err = apiwire.NewPlain(nil).Append(buf, apiwire.IDOf(m), payload)
		if err != nil {
			c.t.Fatal(err)
		}
	}
	if _, err := c.conn.Write(buf); err != nil {
		c.t.Fatalf("cannot send %T: %v", ms[0], err)
	}
}

// subscribe takes the advertisements, and the first report of the scanner.
func (c *peer) subscribe() {
	c.t.Helper()
	c.send(&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1})
	expect[*apipb.BluetoothScannerStateResponse](c)
}

const patience = 2 * time.Minute

var errQuiet = errors.New("nothing came")

// receive takes the next message that pick wants.
func (c *peer) receive(within time.Duration, pick func(proto.Message) bool) (received, error) {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		select {
		case r, ok := <-c.msgs:
			if !ok {
				return r, net.ErrClosed
			}
			if pick(r.m) {
				return r, nil
			}
		case <-deadline.C:
			return received{}, errQuiet
		}
	}
}

func isNoise(m proto.Message) bool {
	switch m.(type) {
	case *apipb.BluetoothLERawAdvertisementsResponse, *apipb.BluetoothLEAdvertisementResponse, *apipb.PingRequest:
		return true
	}
	return false
}

// expect takes the next message besides advertisements and reports of the
// scanner, unless that is what is wanted, and fails unless it is a T.
func expect[T proto.Message](c *peer) T {
	c.t.Helper()
	m, _ := expectAt[T](c)
	return m
}

func expectAt[T proto.Message](c *peer) (T, time.Time) {
	c.t.Helper()
	r, err := c.receive(patience, func(m proto.Message) bool {
		if _, ok := m.(T); ok {
			return true
		}
		_, scanner := m.(*apipb.BluetoothScannerStateResponse)
		return !isNoise(m) && !scanner
	})
	var zero T
	if err != nil {
		c.t.Fatalf("waiting for %T: %v", zero, err)
	}
	m, ok := r.m.(T)
	if !ok {
		c.t.Fatalf("got %T %v, want %T", r.m, r.m, zero)
	}
	return m, r.at
}

// quiet fails if anything but advertisements and reports of the scanner comes.
func (c *peer) quiet(d time.Duration) {
	c.t.Helper()
	r, err := c.receive(d, func(m proto.Message) bool {
		_, scanner := m.(*apipb.BluetoothScannerStateResponse)
		return !isNoise(m) && !scanner
	})
	if !errors.Is(err, errQuiet) {
		c.t.Fatalf("got %T %v, %v; want nothing", r.m, r.m, err)
	}
}

// adverts takes the advertisements of d.
func (c *peer) adverts(d time.Duration) (batches [][]*apipb.BluetoothLERawAdvertisement, at []time.Time) {
	c.t.Helper()
	_, err := c.receive(d, func(m proto.Message) bool {
		if b, ok := m.(*apipb.BluetoothLERawAdvertisementsResponse); ok {
			batches = append(batches, b.Advertisements)
			at = append(at, time.Now())
		}
		return false
	})
	if !errors.Is(err, errQuiet) {
		c.t.Fatal(err)
	}
	return batches, at
}

func (c *peer) close() { _ = c.conn.Close() }

// request gives message 68.
func request(a ble.Address, kind apipb.BluetoothDeviceRequestType) *apipb.BluetoothDeviceRequest {
	return &apipb.BluetoothDeviceRequest{Address: uint64(a), RequestType: kind, HasAddressType: true}
}

const (
	rtConnect    = apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE
	rtCached     = apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITH_CACHE
	rtLegacy     = apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT
	rtDisconnect = apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_DISCONNECT
	rtPair       = apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_PAIR
	rtUnpair     = apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_UNPAIR
	rtClear      = apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CLEAR_CACHE
)

// link connects to a and checks slots and answer.
func (c *peer) link(a ble.Address) {
	c.t.Helper()
	c.send(request(a, rtConnect))
	expect[*apipb.BluetoothConnectionsFreeResponse](c)
	r := expect[*apipb.BluetoothDeviceConnectionResponse](c)
	if !r.GetConnected() || ble.Address(r.GetAddress()) != a {
		c.t.Fatalf("no link: %v", r)
	}
	expect[*apipb.BluetoothConnectionsFreeResponse](c)
}

// read reads a handle: the value, or an error.
func (c *peer) read(a ble.Address, handle uint32) string {
	c.t.Helper()
	c.send(&apipb.BluetoothGATTReadRequest{Address: uint64(a), Handle: handle})
	return c.answer(handle)
}

func (c *peer) write(a ble.Address, handle uint32, value []byte, response bool) string {
	c.t.Helper()
	c.send(&apipb.BluetoothGATTWriteRequest{Address: uint64(a), Handle: handle, Response: response, Data: value})
	return c.answer(handle)
}

func (c *peer) writeDescriptor(a ble.Address, handle uint32, value []byte) string {
	c.t.Helper()
	c.send(&apipb.BluetoothGATTWriteDescriptorRequest{Address: uint64(a), Handle: handle, Data: value})
	return c.answer(handle)
}

// answer sums up the answer to a GATT request.
func (c *peer) answer(handle uint32) string {
	c.t.Helper()
	r, err := c.receive(patience, func(m proto.Message) bool { return !isNoise(m) })
	if err != nil {
		return err.Error()
	}
	switch m := r.m.(type) {
	case *apipb.BluetoothGATTReadResponse:
		if m.GetHandle() == handle {
			return fmt.Sprintf("%x", m.GetData())
		}
	case *apipb.BluetoothGATTWriteResponse:
		if m.GetHandle() == handle {
			return "written"
		}
	case *apipb.BluetoothGATTErrorResponse:
		if m.GetHandle() == handle {
			return fmt.Sprintf("error %d", m.GetError())
		}
	}
	return fmt.Sprintf("%T %v", r.m, r.m)
}
