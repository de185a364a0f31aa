package apiconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// startRead begins a read and tells of its answer once.
func (b *bench) startRead(handle uint16) (answers <-chan string, cancel func(), ok bool) {
	ch := make(chan string, 2)
	cancel, ok = b.p.StartRead(testAddr, handle, func(v []byte, err error) { ch <- fmt.Sprintf("%s %v", v, err) })
	return ch, cancel, ok
}

func TestStart(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		read, _, ok := b.startRead(5)
		if !ok {
			t.Fatal("the read was not begun")
		}
		want[*apipb.BluetoothGATTReadRequest](far)
		written := make(chan error, 2)
		if _, ok := b.p.StartWrite(testAddr, 6, []byte{7}, func(err error) { written <- err }); !ok {
			t.Fatal("the write was not begun")
		}
		if m := want[*apipb.BluetoothGATTWriteRequest](far); !m.GetResponse() || string(m.GetData()) != "\x07" {
			t.Errorf("%v was written", m)
		}
		// What would have to wait is not begun, and waits its turn.
		if _, _, ok := b.startRead(5); ok {
			t.Error("a second read of a handle was begun")
		}
		waiting := b.read(5)
		far.quiet(10 * time.Millisecond)
		far.send(readAnswer(5, "five"), ack(6))
		if got := <-read; got != "five <nil>" {
			t.Errorf("read %s", got)
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
		want[*apipb.BluetoothGATTReadRequest](far)
		if _, _, ok := b.startRead(5); ok {
			t.Error("a read was begun beside one that waits")
		}
		far.send(&apipb.BluetoothGATTErrorResponse{Address: wireAddr, Handle: 5, Error: 2})
		_, err := waiting()
		wantError(t, err, ble.ATTReadNotPermitted)
		// After a write without response the order of answers is not known.
		b.command(6, 1)
		want[*apipb.BluetoothGATTWriteRequest](far)
		if _, ok := b.p.StartWrite(testAddr, 6, []byte{7}, func(error) {}); ok {
			t.Error("a write was begun whose answer could be mistaken")
		}
		far.send(ack(6))
	})
}

// Without an answer a request ends in time; the late one does not count for the next.
func TestStartWithoutAnswer(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		begun := time.Now()
		failed := make(chan error, 2)
		var took time.Duration
		b.p.StartWrite(testAddr, 5, []byte{1}, func(err error) {
			took = time.Since(begun)
			failed <- err
		})
		want[*apipb.BluetoothGATTWriteRequest](far)
		for len(failed) == 0 { // the session lives on meanwhile
			want[*apipb.PingRequest](far)
			far.send(&apipb.PingResponse{})
			time.Sleep(time.Second) // of the bubble's time
		}
		wantError(t, <-failed, ble.ErrTimeout)
		if took != requestTimeout {
			t.Errorf("it took %v", took)
		}
		far.send(ack(5)) // too late
		read := b.read(5)
		want[*apipb.BluetoothGATTReadRequest](far)
		far.send(readAnswer(5, "x"))
		if v, err := read(); string(v) != "x" || err != nil {
			t.Errorf("read %s, %v", v, err)
		}
		if len(failed) > 0 {
			t.Error("told twice")
		}
	})
}

// One that is given up is told of nothing, whatever comes later.
func TestStartCanceled(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		read, cancel, _ := b.startRead(5)
		want[*apipb.BluetoothGATTReadRequest](far)
		cancel()
		cancel()
		far.send(readAnswer(5, "late"))
		far.quiet(2 * abandonedGrace)
		again, _, ok := b.startRead(5)
		if !ok {
			t.Fatal("not begun")
		}
		want[*apipb.BluetoothGATTReadRequest](far)
		far.send(readAnswer(5, "in time"))
		if got := <-again; got != "in time <nil>" {
			t.Errorf("read %s", got)
		}
		if len(read) > 0 {
			t.Errorf("told %s", <-read)
		}
	})
}

// The end of the link, or of the session, ends it.
func TestStartAndTheEnd(t *testing.T) {
	withProxy(t, func(t *testing.T, b *bench, far *peer) {
		failed := make(chan error, 2)
		begin := func() {
			t.Helper()
			if _, ok := b.p.StartRead(testAddr, 5, func(_ []byte, err error) { failed <- err }); !ok {
				t.Fatal("not begun")
			}
			want[*apipb.BluetoothGATTReadRequest](far)
		}
		begin()
		far.send(&apipb.BluetoothDeviceConnectionResponse{Address: wireAddr})
		wantError(t, <-failed, ble.ErrNotConnected)
		begin()
		s := b.p.current.Load()
		s.ops.fail(errors.New("over"))
		if err := <-failed; err == nil {
			t.Error("no error at the end of the session")
		}
		if _, _, ok := b.startRead(5); ok {
			t.Error("begun after the end")
		}
	})
}

// On a real socket the caller's goroutine writes; with one that takes nothing the writer does the rest, in order.
func TestSendNowInOrder(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	s := newSession(&Proxy{cfg: Config{DeadAfter: time.Minute}}, near)
	s.f = apiwire.NewPlain(near)
	s.startWriter()
	const n = 3000
	sent := make(chan error, 1)
	go func() {
		for i := range uint32(n) {
			m := &apipb.BluetoothGATTWriteRequest{Handle: i, Data: make([]byte, 512)}
			if i%3 == 0 || !s.w.sendNow(m) {
				if err := s.w.send(context.Background(), m); err != nil {
					sent <- err
					return
				}
			}
		}
		sent <- nil
	}()
	_ = far.SetReadDeadline(time.Now().Add(time.Minute))
	f := apiwire.NewPlain(far)
	for i := range uint32(n) {
		id, payload, err := f.Read()
		if err != nil {
			t.Fatal(err)
		}
		m, err := apiwire.Unmarshal(id, payload)
		if err != nil || m.(*apipb.BluetoothGATTWriteRequest).GetHandle() != i {
			t.Fatalf("message %d is %v, %v", i, m, err)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	close(s.done)
	s.wg.Wait() // the writer counts what it wrote after the other end may have read it
	if got := s.p.Traffic().Written; got < n*512 {
		t.Errorf("%d bytes were counted", got)
	}
}

// A proxy that takes leave while it is brought up is let go at once, at whichever step: the time that the step may take
// does not hold the session.
func TestGoodbyeDuringBringUp(t *testing.T) {
	for _, tt := range []struct {
		name  string
		until func(far *peer)
	}{
		{"before hello", func(far *peer) { want[*apipb.HelloRequest](far); want[*apipb.AuthenticationRequest](far) }},
		{"before the device info", func(far *peer) {
			want[*apipb.HelloRequest](far)
			want[*apipb.AuthenticationRequest](far)
			far.send(&apipb.HelloResponse{ApiVersionMajor: 1, ApiVersionMinor: 19, Name: "kitchen"})
			want[*apipb.DeviceInfoRequest](far)
		}},
		{"before the slots", func(far *peer) {
			far.hello(deviceInfo())
			want[*apipb.SubscribeBluetoothConnectionsFreeRequest](far)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				ended := only(func() error { return b.p.Run(t.Context()) })
				far := b.accept()
				tt.until(far)
				begun := time.Now()
				far.send(&apipb.DisconnectRequest{})
				want[*apipb.DisconnectResponse](far)
				synctest.Wait()
				// The device waits for us to close, as real ones do for a while.
				_, _, err := far.f.Read()
				if took := time.Since(begun); err == nil || took > 200*time.Millisecond {
					t.Errorf("the session ended after %v (%v)", took, err)
				}
				go b.p.Stop()
				if err := ended(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
