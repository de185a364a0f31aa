package apiconn

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

const wireAddr = uint64(testAddr)

// withProxy runs f in a bubble with a proxy that is online.
func withProxy(t *testing.T, f func(t *testing.T, b *bench, far *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		far := b.online()
		f(t, b, far)
		b.stop(far)
	})
}

func (b *bench) read(handle uint16) func() ([]byte, error) {
	return result(func() ([]byte, error) { return b.p.Read(b.t.Context(), testAddr, handle) })
}

func (b *bench) write(handle uint16, value byte) func() error {
	return only(func() error { return b.p.Write(b.t.Context(), testAddr, handle, []byte{value}, true) })
}

func (b *bench) command(handle uint16, value byte) {
	b.t.Helper()
	if err := b.p.Write(b.t.Context(), testAddr, handle, []byte{value}, false); err != nil {
		b.t.Error(err)
	}
}

func readAnswer(handle uint32, data string) *apipb.BluetoothGATTReadResponse {
	return &apipb.BluetoothGATTReadResponse{Address: wireAddr, Handle: handle, Data: []byte(data)}
}

func ack(handle uint32) *apipb.BluetoothGATTWriteResponse {
	return &apipb.BluetoothGATTWriteResponse{Address: wireAddr, Handle: handle}
}

func TestReadsOfOneHandleAreSerial(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		first := b.read(5)
		want[*apipb.BluetoothGATTReadRequest](far)
		second := b.read(5)
		other := b.read(6)
		if m := want[*apipb.BluetoothGATTReadRequest](far); m.GetHandle() != 6 {
			t.Fatalf("handle %d was read while 5 was outstanding", m.GetHandle())
		}
		far.send(readAnswer(6, "six"), readAnswer(5, "one"))
		want[*apipb.BluetoothGATTReadRequest](far)
		far.send(readAnswer(5, "two"))
		for name, wait := range map[string]func() ([]byte, error){"one": first, "two": second, "six": other} {
			if got, err := wait(); err != nil || string(got) != name {
				t.Errorf("got %q, %v, want %q", got, err, name)
			}
		}
	})
}

func TestStrayAckDoesNotCompleteWrite(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		b.command(5, 1)
		b.command(5, 2)
		want[*apipb.BluetoothGATTWriteRequest](far)
		want[*apipb.BluetoothGATTWriteRequest](far)
		write := b.write(5, 3)
		read := b.read(5) // waits behind the write: one request per handle
		far.quiet(100 * time.Millisecond)
		far.send(ack(5), ack(5))
		if m := want[*apipb.BluetoothGATTWriteRequest](far); !m.GetResponse() {
			t.Error("want the write with response")
		}
		far.send(&apipb.BluetoothGATTErrorResponse{Address: wireAddr, Handle: 5, Error: 3})
		wantError(t, write(), ble.ATTWriteNotPermitted)
		want[*apipb.BluetoothGATTReadRequest](far)
		far.send(readAnswer(5, "x"))
		if _, err := read(); err != nil {
			t.Error(err)
		}
	})
}

func TestStrayAcksExpire(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		b.command(5, 1)
		want[*apipb.BluetoothGATTWriteRequest](far)
		begun := time.Now()
		write := b.write(5, 3)
		want[*apipb.BluetoothGATTWriteRequest](far) // the acknowledgement was lost
		if d := time.Since(begun); d != ackExpiry {
			t.Errorf("the write went out after %v, want %v", d, ackExpiry)
		}
		far.send(ack(5))
		if err := write(); err != nil {
			t.Error(err)
		}
	})
}

// TestCommandWindow: writes without response go out maxAcks at a time, and in order, also where
// acknowledgements get lost.
func TestCommandWindow(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		const all = 2*maxAcks + 2
		begun := time.Now()
		done := only(func() error {
			for i := range byte(all) {
				if err := b.p.Write(t.Context(), testAddr, 5, []byte{i}, false); err != nil {
					return err
				}
			}
			return nil
		})
		next := byte(0)
		wantNext := func(n int) {
			t.Helper()
			for range n {
				if m := want[*apipb.BluetoothGATTWriteRequest](far); m.GetData()[0] != next {
					t.Fatalf("wrote %d, want %d", m.GetData()[0], next)
				}
				next++
			}
		}
		wantNext(maxAcks)
		far.quiet(100 * time.Millisecond)
		far.send(ack(5), ack(5))
		wantNext(2)
		far.quiet(100 * time.Millisecond)
		if time.Since(begun) >= ackExpiry {
			t.Error("that took too long")
		}
		wantNext(all - maxAcks - 2) // nothing is acknowledged any more
		if d := time.Since(begun); d < ackExpiry || d > 2*ackExpiry {
			t.Errorf("the others went out after %v, want %v at least", d, ackExpiry)
		}
		if err := done(); err != nil {
			t.Error(err)
		}
	})
}

func TestCommandStaysBehindQueuedWrite(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		first := b.write(5, 1)
		want[*apipb.BluetoothGATTWriteRequest](far)
		second := b.write(5, 2)
		synctest.Wait()
		command := only(func() error { return b.p.Write(t.Context(), testAddr, 5, []byte{3}, false) })
		far.quiet(10 * time.Millisecond)
		far.send(ack(5))
		if m := want[*apipb.BluetoothGATTWriteRequest](far); m.GetData()[0] != 2 {
			t.Errorf("wrote %d, want 2", m.GetData()[0])
		}
		far.send(ack(5))
		if m := want[*apipb.BluetoothGATTWriteRequest](far); m.GetData()[0] != 3 {
			t.Errorf("wrote %d, want 3", m.GetData()[0])
		}
		for _, wait := range []func() error{first, second, command} {
			if err := wait(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestLateAnswerOfCancelledRead(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		ctx, cancel := context.WithCancel(t.Context())
		first := result(func() ([]byte, error) { return b.p.Read(ctx, testAddr, 5) })
		want[*apipb.BluetoothGATTReadRequest](far)
		cancel()
		_, err := first()
		wantError(t, err, context.Canceled)
		second := b.read(5)
		far.quiet(time.Second)
		far.send(readAnswer(5, "late"))
		want[*apipb.BluetoothGATTReadRequest](far)
		far.send(readAnswer(5, "new"))
		if got, err := second(); string(got) != "new" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestRequestTimeouts(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		begun := time.Now()
		read := b.read(5)
		notify := only(func() error { return b.p.Notify(t.Context(), testAddr, 6, true) })
		var at time.Duration
		go func() { // a live proxy that ignores us
			for time.Since(begun) < 40*time.Second {
				if _, _, err := far.f.Read(); err != nil {
					return
				}
			}
		}()
		keep := time.NewTicker(5 * time.Second)
		defer keep.Stop()
		done := make(chan struct{})
		go func() {
			defer close(done)
			wantError(t, notify(), ble.ErrTimeout)
			at = time.Since(begun)
			_, err := read()
			wantError(t, err, ble.ErrTimeout)
			wantError(t, err, context.DeadlineExceeded)
		}()
		for running := true; running; {
			select {
			case <-keep.C:
				far.send(&apipb.PingResponse{})
			case <-done:
				running = false
			}
		}
		if at != notifyTimeout || time.Since(begun) != requestTimeout {
			t.Errorf("timed out after %v and %v", at, time.Since(begun))
		}
		_ = far.conn.SetReadDeadline(time.Now()) // ends the reader
		synctest.Wait()
		_ = far.conn.SetReadDeadline(time.Time{})
	})
}

func TestLinkLossFailsItsRequestsOnly(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		reads := []func() ([]byte, error){b.read(5), b.read(5), b.read(6)}
		services := result(func() ([]ble.Service, error) { return b.p.Services(t.Context(), testAddr) })
		other := result(func() ([]byte, error) { return b.p.Read(t.Context(), 0x1234, 5) })
		for range 4 {
			far.read()
		}
		far.send(&apipb.BluetoothDeviceConnectionResponse{Address: 0}) // old firmware's second report
		far.send(&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr, Error: 8})
		for _, wait := range reads {
			_, err := wait()
			wantError(t, err, ble.ErrNotConnected)
		}
		_, err := services()
		wantError(t, err, ble.ErrNotConnected)
		far.send(&apipb.BluetoothGATTReadResponse{Address: 0x1234, Handle: 5})
		if got, err := other(); err != nil || got == nil {
			t.Errorf("the other peripheral: %v, %v", got, err)
		}
		b.expectEvents("down AA:BB:CC:DD:EE:FF 0x8")
	})
}

func TestSessionLossFailsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		far := b.online()
		read, queued := b.read(5), b.read(5)
		connect := result(func() (int, error) { return b.p.Connect(t.Context(), testAddr, ble.Public, false) })
		far.read()
		far.read()
		_ = far.conn.Close()
		for _, wait := range []func() ([]byte, error){read, queued} {
			_, err := wait()
			wantError(t, err, ble.ErrNotConnected)
		}
		_, err := connect()
		wantError(t, err, ble.ErrNotConnected)
		if b.p.Online() || b.p.Slots().Known {
			t.Error("still online")
		}
		_, err = b.p.Read(t.Context(), testAddr, 5)
		wantError(t, err, ble.ErrNotConnected)
		b.p.Stop()
	})
}

func TestServicesStream(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		services := func() func() ([]ble.Service, error) {
			wait := result(func() ([]ble.Service, error) { return b.p.Services(t.Context(), testAddr) })
			far.read()
			return wait
		}
		part := func(handle uint32, short uint32) *apipb.BluetoothGATTGetServicesResponse {
			return &apipb.BluetoothGATTGetServicesResponse{Address: wireAddr, Services: []*apipb.BluetoothGATTService{{
				Handle: handle, ShortUuid: short,
				Characteristics: []*apipb.BluetoothGATTCharacteristic{{
					Uuid: []uint64{0, 7}, Handle: handle + 2, Properties: 0x12,
					Descriptors: []*apipb.BluetoothGATTDescriptor{{Handle: handle + 3, ShortUuid: 0x2902}},
				}},
			}}}
		}
		done := &apipb.BluetoothGATTGetServicesDoneResponse{Address: wireAddr}
		wait := services()
		far.send(part(1, 0x1800), part(0x10, 0x180f), done)
		got, err := wait()
		if err != nil || len(got) != 2 || got[1].UUID != ble.UUID16(0x180f) || got[1].Characteristics[0].ValueHandle != 0x12 ||
			got[1].Characteristics[0].UUID != ble.UUIDFromHalves(0, 7) || got[1].Characteristics[0].CCCD() != 0x13 {
			t.Errorf("got %+v, %v", got, err)
		}
		wait = services()
		far.send(&apipb.BluetoothGATTErrorResponse{Address: wireAddr, Error: -1})
		_, err = wait()
		wantError(t, err, ble.ErrNotConnected)
		wait = services()
		// An entry that is of no use costs itself only: it keeps its place in the list, with handle 0.
		far.send(part(70000, 0x180f), part(65536, 0x1800), part(0xfffe, 0x1801), part(4294967295, 0x1801), part(1, 0x1800), done)
		handles := []uint16(nil)
		got, err = wait()
		for _, s := range got {
			handles = append(handles, s.Handle, s.Characteristics[0].ValueHandle, s.Characteristics[0].Descriptors[0].Handle)
		}
		if want := []uint16{0, 0, 0, 0, 0, 0, 0xfffe, 0, 0, 0, 1, 2, 1, 3, 4}; err != nil || !slices.Equal(handles, want) {
			t.Errorf("handles %v, %v; want %v", handles, err, want)
		}
		wait = services()
		for range ble.MaxServices + 1 {
			far.send(part(1, 0x1800))
		}
		if _, err := wait(); err == nil {
			t.Error("took an endless database")
		}
	})
}

func TestPairingAnswers(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		unpair := only(func() error { return b.p.Unpair(t.Context(), testAddr) })
		far.read()
		far.send(&apipb.BluetoothDevicePairingResponse{Address: wireAddr, Paired: true}) // firmware up to 2026.7
		if err := unpair(); err != nil {
			t.Error(err)
		}
		// The end of the link does not answer it: firmware from 2025.8 to 2026.7 reports that twice, and the second report
		// often comes after the request.
		unpair = only(func() error { return b.p.Unpair(t.Context(), testAddr) })
		far.read()
		far.send(&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr}, &apipb.BluetoothDeviceUnpairingResponse{Address: wireAddr, Success: true})
		if err := unpair(); err != nil {
			t.Error(err)
		}
		b.expectEvents("down AA:BB:CC:DD:EE:FF 0x0")
		pair := only(func() error { return b.p.Pair(t.Context(), testAddr) })
		far.read()
		far.send(&apipb.BluetoothDevicePairingResponse{Address: wireAddr, Error: 0x61})
		var failed *ble.PairError
		if err := pair(); !errors.As(err, &failed) || failed.Reason != 0x61 {
			t.Errorf("got %v", err)
		}
		far.send(&apipb.BluetoothDevicePairingResponse{Address: wireAddr, Paired: true})
		b.expectEvents("pairing AA:BB:CC:DD:EE:FF true 0")
	})
}

func TestNotificationsKeepOrder(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		notify := only(func() error { return b.p.Notify(t.Context(), testAddr, 5, true) })
		far.read()
		value := func(v byte) *apipb.BluetoothGATTNotifyDataResponse {
			return &apipb.BluetoothGATTNotifyDataResponse{Address: wireAddr, Handle: 5, Data: []byte{v}}
		}
		far.send(value(1), &apipb.BluetoothGATTNotifyResponse{Address: wireAddr, Handle: 5}, value(2), value(3))
		if err := notify(); err != nil {
			t.Error(err)
		}
		b.expectEvents("notify AA:BB:CC:DD:EE:FF 0x5 01", "notify AA:BB:CC:DD:EE:FF 0x5 02", "notify AA:BB:CC:DD:EE:FF 0x5 03")
	})
}

func TestMissingFeatures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		started := only(func() error { return b.p.Start(t.Context()) })
		far := b.accept()
		info := deviceInfo()
		info.BluetoothProxyFeatureFlags, info.EsphomeVersion = 0x21, "2024.10.0"
		far.hello(info)
		want[*apipb.SubscribeBluetoothLEAdvertisementsRequest](far) // passive: nobody asks for slots
		if err := started(); err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		_, connectErr := b.p.Connect(ctx, testAddr, ble.Public, false)
		errs := []error{
			connectErr, b.p.Pair(ctx, testAddr), b.p.Unpair(ctx, testAddr), b.p.ClearCache(ctx, testAddr),
			b.p.SetConnectionParams(ctx, testAddr, ble.ConnectionParams{MinInterval: 6, MaxInterval: 6, Timeout: 100}), b.p.SetScannerMode(ctx, ble.ScanActive),
		}
		if i := slices.IndexFunc(errs, func(err error) bool { return !errors.Is(err, ble.ErrNotSupported) }); i >= 0 {
			t.Errorf("call %d: %v", i, errs[i])
		}
		if err := b.p.SetConnectionParams(ctx, testAddr, ble.ConnectionParams{MinInterval: 5, MaxInterval: 6, Timeout: 100}); err == nil || errors.Is(err, ble.ErrNotSupported) {
			t.Errorf("took an interval of 5: %v", err)
		}
		b.stop(far)
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.online() // and never reads again
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		sent := 0
		var err error
		for handle := uint16(5); err == nil; handle++ { // to one handle only maxAcks go out
			err = b.p.Write(ctx, testAddr, handle, make([]byte, 500), false)
			sent += 500
		}
		wantError(t, err, ble.ErrTimeout)
		if sent < maxQueued/2 || sent > 3*maxQueued {
			t.Errorf("queued %d bytes", sent)
		}
		<-time.After(25 * time.Second) // fake
		synctest.Wait()
		if b.p.Online() {
			t.Error("a proxy that takes nothing is still online")
		}
		b.p.Stop()
	})
}

// A notification costs its message and its value, nothing else.
func TestNotificationAllocates(t *testing.T) {
	b := newBench(t, nil)
	b.p.cfg.Handler = mute{}
	s := newSession(b.p, nil)
	s.up = true
	payload, err := proto.Marshal(&apipb.BluetoothGATTNotifyDataResponse{Address: uint64(testAddr), Handle: 3, Data: []byte{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		if err := s.dispatch(apiwire.BluetoothGATTNotifyDataResponse, payload); err != nil {
			t.Fatal(err)
		}
	})
	if n > 2 {
		t.Errorf("%v allocations, want the message and its value", n)
	}
}

// mute is a Handler that nothing comes of.
type mute struct{ Handler }

func (mute) Notification(*Proxy, ble.Address, uint16, []byte) {}
