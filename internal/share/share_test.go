package share

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// Eight hosts get every one of 1,000 advertisements a second, in order; a ninth one that never reads costs only itself.
func TestFanOut(t *testing.T) {
	const hosts, size, seconds = 8, 16, 3
	b := newBench(t)
	stalled := b.subscriber(1)
	if err := stalled.conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	cond := sync.NewCond(&mu)
	got := make([]int, hosts)
	var wg sync.WaitGroup
	var failed error
	for i := range hosts {
		c := b.subscriber(1)
		wg.Go(func() {
			for n := 0; ; n++ {
				id, payload, err := c.f.Read()
				if err != nil {
					mu.Lock()
					got[i] = -1
					cond.Broadcast()
					mu.Unlock()
					return
				}
				if id != apiwire.BluetoothLERawAdvertisementsResponse {
					n--
					continue
				}
				m, err := apiwire.Unmarshal(id, payload)
				mu.Lock()
				if adv := m.(*apipb.BluetoothLERawAdvertisementsResponse).GetAdvertisements(); err != nil || len(adv) != size ||
					string(adv[0].GetData()) != string(batch(n, 1)[0].Data) {
					failed = fmt.Errorf("host %d, batch %d: %v, %v", i, n, adv, err)
				}
				got[i] = n + 1
				cond.Broadcast()
				mu.Unlock()
			}
		})
	}
	reached := func(n int) bool {
		for _, g := range got {
			if g >= 0 && g < n {
				return false
			}
		}
		return true
	}
	sent := 0
	ticker := time.NewTicker(time.Second * size / 1000)
	for ; sent < 1000*seconds/size; sent++ {
		<-ticker.C
		b.p.Adverts(batch(sent, size))
	}
	ticker.Stop()
	// As fast as the eight can read, until the buffers of the one that does not are full.
	for lost := uint64(0); lost == 0; {
		for range 100 {
			b.p.Adverts(batch(sent, size))
			sent++
		}
		mu.Lock()
		for !reached(sent) {
			cond.Wait()
		}
		mu.Unlock()
		for _, h := range b.p.Status().Hosts {
			lost += h.Dropped
		}
		if sent > 200000 {
			t.Fatal("the stalled host loses nothing")
		}
	}
	if len(b.p.Status().Hosts) != hosts+1 {
		t.Errorf("%d hosts are left", len(b.p.Status().Hosts))
	}
	b.p.Down()
	wg.Wait()
	if failed != nil {
		t.Error(failed)
	}
	t.Logf("%d batches to each of %d hosts", sent, hosts)
}

// A host that asks for decoded advertisements gets them one by one.
func TestDecoded(t *testing.T) {
	b := newBench(t)
	c := b.subscriber(0)
	b.p.Adverts([]ble.RawAdvert{{Address: device1, Type: 1, RSSI: -60, Data: []byte{3, 9, 'h', 'i', 3, 3, 0x0f, 0x18}}})
	m := want[*apipb.BluetoothLEAdvertisementResponse](c)
	if string(m.GetName()) != "hi" || m.GetAddress() != uint64(device1) || m.GetRssi() != -60 || !slices.Equal(m.GetServiceUuids(), []string{"0x180F"}) {
		t.Errorf("got %v", m)
	}
}

// What the proxy says of itself is its own where the original's would make it be taken for that one.
func TestDeviceInfo(t *testing.T) {
	b := newBench(t)
	c := b.dial(&apipb.DeviceInfoRequest{})
	m := want[*apipb.DeviceInfoResponse](c)
	if m.GetName() != "kitchen-shared" || m.GetEsphomeVersion() != "2026.10.0" || m.GetBluetoothMacAddress() == testInfo.BluetoothMAC || m.GetBluetoothProxyFeatureFlags() != 0xff {
		t.Errorf("got %v", m)
	}
	mac, err := ble.ParseAddress(m.GetMacAddress())
	if err != nil || mac>>40&3 != 2 || m.GetMacAddress() == testInfo.MAC {
		t.Errorf("MAC %s, %v", m.GetMacAddress(), err)
	}
	radio, err := ble.ParseAddress(m.GetBluetoothMacAddress())
	if err != nil || radio>>40&3 != 2 || radio == mac {
		t.Errorf("radio's address %s, %v", m.GetBluetoothMacAddress(), err)
	}
	of := func(installation ble.Address) apiserver.Device {
		return (&Config{Names: "{name}-shared", Installation: installation}).device(testInfo, mac)
	}
	one, again, two := of(1), of(1), of(2)
	if one.MAC != again.MAC || one.BluetoothMAC != again.BluetoothMAC || one.MAC == two.MAC || one.BluetoothMAC == two.BluetoothMAC {
		t.Error("the addresses are not of one installation, or not stable")
	}
	if d := (&Config{Names: "{name}-shared", Original: true}).device(testInfo, mac); d.Name != "kitchen" || d.MAC != testInfo.MAC || d.BluetoothMAC != testInfo.BluetoothMAC {
		t.Errorf("as the original: %v", d)
	}
}

// An update of a host makes nobody else of it: bonds belong to it.
func TestParty(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"Home Assistant 2026.1.0", "host Home Assistant at 192.0.2.1"},
		{"Home Assistant 2026.11.0b2", "host Home Assistant at 192.0.2.1"},
		{"Home Assistant 2026.12.0.dev20261130", "host Home Assistant at 192.0.2.1"},
		{"bluez-esphome 1.1.0", "host bluez-esphome at 192.0.2.1"},
		{"bluez-esphome 1.1.0-5-g7ff0d18", "host bluez-esphome at 192.0.2.1"},
		{"bluez-esphome da2d3c4", "host bluez-esphome at 192.0.2.1"},
		{"bluez-esphome", "host bluez-esphome at 192.0.2.1"},
		{"hub in room 2 1.0", "host hub in room at 192.0.2.1"},
		{"", "host  at 192.0.2.1"},
		{" ", "host  at 192.0.2.1"},
	} {
		if got := (Host{Name: c.name, Address: "192.0.2.1"}).Party(); got != c.want {
			t.Errorf("%q is %q, want %q", c.name, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ pattern, name, want string }{
		{"{name}-shared", "kitchen", "kitchen-shared"},
		{"{name}-shared", "Living Room", "living-room-shared"},
		{"via {name}", "garage", "via-garage"},
		{"{name}-shared", strings.Repeat("x", 40), strings.Repeat("x", 24) + "-shared"},
	} {
		if got := nameOf(c.pattern, c.name); got != c.want {
			t.Errorf("%q of %q is %q, want %q", c.pattern, c.name, got, c.want)
		}
	}
}

// The proxy scans actively while any host wants that.
func TestScanModes(t *testing.T) {
	b := newBench(t)
	mode := func(m apipb.BluetoothScannerMode) proto.Message {
		return &apipb.BluetoothScannerSetModeRequest{Mode: m}
	}
	const active, passive = apipb.BluetoothScannerMode_BLUETOOTH_SCANNER_MODE_ACTIVE, apipb.BluetoothScannerMode_BLUETOOTH_SCANNER_MODE_PASSIVE
	changed := func(want bool) {
		t.Helper()
		select {
		case name := <-b.modes:
			if got := b.p.WantsActive(); got != want || name != "kitchen" {
				t.Errorf("%s: active %v, want %v", name, got, want)
			}
		case <-time.After(limit):
			t.Fatal("no change")
		}
	}
	one, two := b.subscriber(1), b.subscriber(1)
	one.send(mode(active))
	changed(true)
	two.send(mode(active), mode(passive), &apipb.PingRequest{})
	want[*apipb.PingResponse](two)
	one.send(mode(passive))
	changed(false)
	two.send(mode(active))
	changed(true)
	_ = two.conn.Close()
	changed(false)
	b.p.Scanner(ble.ScannerRunning, ble.ScanPassive, ble.ScanActive) // one asked for passive
	three := b.dial(subscribe)                                       // as configured
	want[*apipb.BluetoothScannerStateResponse](three)
	changed(true)
}

// TestCacheClearedFirst: a host that asks for the link without waiting for the answer to CLEAR_CACHE, as a daemon does
// that has this proxy, gets a link that does not use what was dropped.
func TestCacheClearedFirst(t *testing.T) {
	b := newBench(t)
	c := b.dial(&apipb.SubscribeBluetoothConnectionsFreeRequest{})
	want[*apipb.BluetoothConnectionsFreeResponse](c)
	a := uint64(device1)
	c.send(&apipb.BluetoothDeviceRequest{Address: a, RequestType: apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CLEAR_CACHE},
		&apipb.BluetoothDeviceRequest{Address: a, HasAddressType: true, AddressType: 1,
			RequestType: apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE})
	want[*apipb.BluetoothDeviceConnectionResponse](c)
	got := b.links[0].Kept()
	if drop := slices.Index(got, "DropCache"); drop < 0 || drop > slices.Index(got, "Connect via kitchen") {
		t.Errorf("asked of the links %q: the cache is to be dropped before the link is made", got)
	}
}

// Each host sees its own slots, and its link's operations come through; what it held goes with it.
func TestConnection(t *testing.T) {
	b := newBench(t)
	c := b.dial(&apipb.SubscribeBluetoothConnectionsFreeRequest{})
	slots := func(free, limit uint32, allocated ...uint64) {
		t.Helper()
		m := want[*apipb.BluetoothConnectionsFreeResponse](c)
		if m.GetFree() != free || m.GetLimit() != limit || !slices.Equal(m.GetAllocated(), allocated) {
			t.Errorf("slots %v, want %d of %d %x", m, free, limit, allocated)
		}
	}
	slots(3, 3)
	b.p.Slots(ble.Slots{Known: true, Free: 2, Limit: 3, Allocated: []ble.Address{9}, HasAllocated: true}) // another's
	slots(2, 3, 9)
	a := uint64(device1)
	c.send(&apipb.BluetoothDeviceRequest{Address: a, HasAddressType: true, AddressType: 1,
		RequestType: apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE})
	if m := want[*apipb.BluetoothDeviceConnectionResponse](c); !m.GetConnected() || m.GetMtu() != 100 {
		t.Errorf("got %v", m)
	}
	slots(1, 3, 9, a) // though the proxy is yet to say so
	b.p.Slots(ble.Slots{Known: true, Free: 1, Limit: 3, Allocated: []ble.Address{9, device1}, HasAllocated: true})
	slots(1, 3, 9, a)
	c.send(&apipb.BluetoothGATTGetServicesRequest{Address: a})
	if m := want[*apipb.BluetoothGATTGetServicesResponse](c); len(m.GetServices()) != 1 || m.GetServices()[0].GetCharacteristics()[0].GetHandle() != 3 {
		t.Errorf("got %v", m)
	}
	want[*apipb.BluetoothGATTGetServicesDoneResponse](c)

	links := b.links[0]
	links.Kept()
	c.send(&apipb.BluetoothGATTReadRequest{Address: a, Handle: 3})
	if m := want[*apipb.BluetoothGATTReadResponse](c); string(m.GetData()) != "value" {
		t.Errorf("got %v", m)
	}
	c.send(&apipb.BluetoothGATTReadDescriptorRequest{Address: a, Handle: 5})
	if m := want[*apipb.BluetoothGATTErrorResponse](c); m.GetError() != 2 || m.GetHandle() != 5 {
		t.Errorf("got %v", m)
	}
	c.send(&apipb.BluetoothGATTNotifyRequest{Address: a, Handle: 3, Enable: true})
	want[*apipb.BluetoothGATTNotifyResponse](c)
	cccd := func(value ...byte) {
		t.Helper()
		c.send(&apipb.BluetoothGATTWriteDescriptorRequest{Address: a, Handle: 4, Data: value})
		want[*apipb.BluetoothGATTWriteResponse](c)
	}
	cccd(0, 0)
	links.ev.Notified(device1, 3, []byte{7})
	links.ev.Notified(device1, 9, []byte{8}) // not asked for
	if m := want[*apipb.BluetoothGATTNotifyDataResponse](c); m.GetHandle() != 3 || string(m.GetData()) != "\x07" {
		t.Errorf("got %v", m)
	}
	c.send(&apipb.BluetoothGATTWriteRequest{Address: a, Handle: 3, Data: []byte{1}})
	want[*apipb.BluetoothGATTWriteResponse](c)
	c.send(&apipb.BluetoothDeviceRequest{Address: a, RequestType: apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_PAIR})
	if m := want[*apipb.BluetoothDevicePairingResponse](c); m.GetPaired() || m.GetError() != 5 {
		t.Errorf("got %v", m)
	}
	c.send(&apipb.BluetoothSetConnectionParamsRequest{Address: a})
	if m := want[*apipb.BluetoothSetConnectionParamsResponse](c); m.GetError() != -1 {
		t.Errorf("got %v", m)
	}
	c.send(&apipb.BluetoothGATTReadRequest{Address: a + 1, Handle: 3})
	if m := want[*apipb.BluetoothGATTErrorResponse](c); m.GetError() != -1 {
		t.Errorf("got %v", m)
	}
	if diff := cmp.Diff([]string{
		"Read 0003", "ReadDescriptor 0005", "Listen 0003", "WriteDescriptor 0004 [0 0]", "WriteCommand 0003 [1]", "Pair", "SetConnectionParams",
	}, links.Kept()); diff != "" {
		t.Errorf("asked of the links (-want +got):\n%s", diff)
	}
	c.send(&apipb.BluetoothDeviceRequest{Address: a, RequestType: apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_DISCONNECT})
	if m := want[*apipb.BluetoothDeviceConnectionResponse](c); m.GetConnected() || m.GetError() != codeLocal {
		t.Errorf("got %v", m)
	}
	slots(1, 3, 9, a) // until the proxy says that it is free
	b.p.Slots(ble.Slots{Known: true, Free: 0, Limit: 3, Allocated: []ble.Address{9, 8, 7}, HasAllocated: true})
	slots(0, 3, 9, 8, 7)
	_ = c.conn.Close()
	deadline := time.Now().Add(limit)
	for closed := false; !closed; {
		closed = links.closed.Load()
		if time.Now().After(deadline) {
			t.Fatal("what the host held was not let go")
		}
	}
}

// Without the real proxy the shared one is not there; both come back on the same port.
func TestUpstream(t *testing.T) {
	b := newBench(t)
	c := b.subscriber(1)
	b.p.Down()
	if _, err := io.Copy(io.Discard, c.conn); errors.Is(err, context.DeadlineExceeded) {
		t.Error("the session goes on")
	}
	var err error
	b.p, err = b.s.Up(testInfo)
	if err != nil {
		t.Fatal(err)
	}
	b.subscriber(1)
}

func TestCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int32
	}{{nil, 0}, {ble.ATTEncryption, 15}, {fmt.Errorf("x: %w", ble.ErrNotConnected), -1}, {ble.ErrTimeout, codeGATT}} {
		if got := gattCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
	for _, c := range []struct {
		failure ble.ConnectFailure
		want    int32
	}{{ble.ConnectNoSlot, 0}, {ble.ConnectTimeout, codeEstablish}, {ble.ConnectRefused, codeGATT}} {
		if got := connectCode(&ble.ConnectError{Failure: c.failure}); got != c.want {
			t.Errorf("%v: %d, want %d", c.failure, got, c.want)
		}
	}
}

// Off loopback the network is told, with the shared proxy's own address, and a missing key is warned of.
func TestAnnounce(t *testing.T) {
	for _, c := range []struct {
		listen string
		want   bool
	}{{"127.0.0.1", false}, {"0.0.0.0", true}} {
		t.Run(c.listen, func(t *testing.T) {
			b := newBench(t)
			b.p.Down()
			var said strings.Builder
			cfg := b.s.cfg
			b.s.Close()
			told := make(chan Service, 1)
			cfg.Listen, cfg.Log = c.listen, slog.New(slog.NewTextHandler(&said, nil))
			cfg.Announce = func(ctx context.Context, s Service) {
				told <- s
				<-ctx.Done()
			}
			b.s = New(cfg)
			var err error
			b.p, err = b.s.Up(testInfo)
			if err != nil {
				t.Fatal(err)
			}
			b.dial() // it listens
			var got []Service
			if c.want {
				got = append(got, <-told)
			}
			b.s.Close()
			if warned := strings.Contains(said.String(), "without encryption"); warned != c.want {
				t.Errorf("warned of plaintext: %v", warned)
			}
			if len(told) != 0 {
				t.Error("announced once too often")
			}
			if !c.want {
				return
			}
			s := got[0]
			mac := strings.ToLower(strings.ReplaceAll(b.p.device.MAC, ":", ""))
			if s.Name != "kitchen-shared" || int(s.Port) != b.port || s.IP != "" || !slices.Contains(s.Text, "mac="+mac) || !slices.Contains(s.Text, "version=2026.10.0") {
				t.Errorf("announced %+v", s)
			}
		})
	}
}
