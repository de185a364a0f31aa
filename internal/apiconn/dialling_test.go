package apiconn

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"

	"github.com/google/go-cmp/cmp"
)

func TestConnectAnswers(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		connect := func(ctx context.Context) func() (int, error) {
			return result(func() (int, error) { return b.p.Connect(ctx, testAddr, ble.RandomIdentity, true) })
		}
		wait := connect(t.Context())
		if m := want[*apipb.BluetoothDeviceRequest](far); !m.GetHasAddressType() || m.GetAddressType() != 3 || m.GetRequestType() != 4 {
			t.Errorf("asked %v", m)
		}
		far.send(&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Error: 0x3e})
		_, err := wait()
		var failed interface{ ConnectCode() int32 }
		if !errors.As(err, &failed) || failed.ConnectCode() != 0x3e {
			t.Errorf("got %v", err)
		}
		wait = connect(t.Context())
		far.read()
		far.send(&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Connected: true, Mtu: 100000})
		if mtu, err := wait(); mtu != ble.MaxMTU || err != nil {
			t.Errorf("got %d, %v", mtu, err)
		}
		b.expectEvents("down AA:BB:CC:DD:EE:FF 0x3e", "up AA:BB:CC:DD:EE:FF 517")
	})
}

// TestConnectListsAnew: who does not connect with the cached database has the proxy drop its own before, and waits for
// one answer only. What is answered to that is nobody's, and not taken for the answer to somebody else's request.
func TestConnectListsAnew(t *testing.T) {
	type request = apipb.BluetoothDeviceRequest
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		explicit := only(func() error { return b.p.ClearCache(t.Context(), testAddr) })
		asked := []uint32{uint32(want[*request](far).GetRequestType())}
		wait := result(func() (int, error) { return b.p.Connect(t.Context(), testAddr, ble.Public, false) })
		for range 2 {
			asked = append(asked, uint32(want[*request](far).GetRequestType()))
		}
		if d := cmp.Diff([]uint32{6, 6, 5}, asked); d != "" {
			t.Errorf("asked for (-want +got):\n%s", d)
		}
		far.send(&apipb.BluetoothDeviceClearCacheResponse{Address: wireAddr, Success: true},
			&apipb.BluetoothDeviceClearCacheResponse{Address: wireAddr, Error: 5},
			&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Connected: true, Mtu: 50})
		if mtu, err := wait(); mtu != 50 || err != nil {
			t.Errorf("got %d, %v", mtu, err)
		}
		if err := explicit(); err != nil {
			t.Error(err)
		}
	})
}

func TestCancelledConnectIsCalledOff(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		wait := result(func() (int, error) { return b.p.Connect(ctx, testAddr, ble.Public, true) })
		want[*apipb.BluetoothDeviceRequest](far)
		if m := want[*apipb.BluetoothDeviceRequest](far); m.GetRequestType() != 1 {
			t.Errorf("sent %v, want a disconnect", m)
		}
		_, err := wait()
		wantError(t, err, ble.ErrTimeout)
		// The answer to the old attempt must not fail the next.
		wait = result(func() (int, error) { return b.p.Connect(t.Context(), testAddr, ble.Public, true) })
		far.quiet(time.Second)
		far.send(&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Error: 0x100})
		want[*apipb.BluetoothDeviceRequest](far)
		far.send(&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Connected: true, Mtu: 23})
		if _, err := wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestDisconnectEndsAttempt(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		connect := result(func() (int, error) { return b.p.Connect(t.Context(), testAddr, ble.Public, true) })
		far.read()
		disconnect := only(func() error { return b.p.Disconnect(t.Context(), testAddr) })
		far.read()
		far.send(&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Error: 0x16})
		if err := disconnect(); err != nil {
			t.Error(err)
		}
		if _, err := connect(); err == nil {
			t.Error("the attempt succeeded")
		}
	})
}

func TestConnectWaitsForHeldSlot(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		connect := func() func() (int, error) {
			return result(func() (int, error) { return b.p.Connect(t.Context(), testAddr, ble.Public, true) })
		}
		down := &apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Error: 0x13}
		wait := connect()
		far.read()
		far.send(freeSlots(wireAddr), &apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Connected: true, Mtu: 50})
		if _, err := wait(); err != nil {
			t.Fatal(err)
		}
		far.send(down) // the link is gone, the slot is not
		synctest.Wait()
		wait = connect()
		far.quiet(time.Second)
		far.send(down, freeSlots())
		want[*apipb.BluetoothDeviceRequest](far)
		far.send(&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Connected: true, Mtu: 50})
		if _, err := wait(); err != nil {
			t.Error(err)
		}
	})
}
