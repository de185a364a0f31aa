package share

import (
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// Strangers who say nothing keep no host away, and hosts are counted.
func TestStrangers(t *testing.T) {
	b := newBench(t)
	b.enter() // it listens
	address := net.JoinHostPort("127.0.0.1", portOf(b))
	var silent []net.Conn
	for range 3 * maxStrangers {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	b.enter()
	closed := 0
	for _, conn := range silent[:2*maxStrangers] {
		_ = conn.SetReadDeadline(time.Now().Add(limit))
		if _, err := conn.Read(make([]byte, 1)); err != nil && !strings.Contains(err.Error(), "timeout") {
			closed++
		}
	}
	if closed != 2*maxStrangers {
		t.Errorf("%d of %d silent connections were closed", closed, 2*maxStrangers)
	}
	last := silent[len(silent)-1] // is still welcome
	c := &client{t: t, conn: last, f: apiwire.NewPlain(last)}
	c.send(&apipb.HelloRequest{ClientInfo: "late"})
	if err := c.greeted(); err != nil {
		t.Error(err)
	}
	c.send(&apipb.PingRequest{})
	want[*apipb.PingResponse](c)
}

// A host that asks for more than it waits for is read from only as its operations end.
func TestOperationsAreBounded(t *testing.T) {
	b := newBench(t)
	c := b.dial()
	a := uint64(device1)
	c.send(&apipb.BluetoothDeviceRequest{Address: a, HasAddressType: true, AddressType: 1,
		RequestType: apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE})
	want[*apipb.BluetoothDeviceConnectionResponse](c)
	c.send(&apipb.BluetoothGATTNotifyRequest{Address: a, Handle: 999, Enable: true})
	if m := want[*apipb.BluetoothGATTErrorResponse](c); m.GetHandle() != 999 || m.GetError() != int32(ble.ATTInvalidHandle) {
		t.Errorf("a subscription to nothing: %v", m)
	}
	links := b.links[0]
	block := make(chan struct{})
	links.block.Store(&block)
	links.Kept()
	const asked = 3 * maxOps
	for range asked {
		c.send(&apipb.BluetoothGATTReadRequest{Address: a, Handle: 3})
	}
	deadline := time.Now().Add(limit)
	for links.Count() < maxOps && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // time for more of them, which there must not be
	_, _, err := c.f.Read()
	_ = c.conn.SetReadDeadline(deadline)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("an answer to a read that did not end: %v", err)
	}
	if n := links.Count(); n != maxOps {
		t.Errorf("%d operations are under way, want %d", n, maxOps)
	}
	close(block)
	for range asked {
		want[*apipb.BluetoothGATTReadResponse](c)
	}
}

func portOf(b *bench) string { _, port, _ := net.SplitHostPort(b.p.Status().Address); return port }
