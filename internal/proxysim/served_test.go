package proxysim

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// serving takes the peripheral "main" over, and what it is told.
func (w *world) serving() (*Server, chan Event) {
	w.t.Helper()
	events := make(chan Event, 100)
	s, err := w.air.Serve("main", func(e Event) bool { events <- e; return true })
	if err != nil {
		w.t.Fatal(err)
	}
	return s, events
}

func wantEvent(t *testing.T, events chan Event, want string) Event {
	t.Helper()
	select {
	case e := <-events:
		got, _ := json.Marshal(e)
		if string(got) != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		return e
	case <-time.After(patience):
		t.Fatalf("nothing came, want %s", want)
		return Event{}
	}
}

// Another process answers reads and writes, in the order of the calls, and is told of commands, of subscriptions and of the link.
func TestServedPeripheral(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{}))
		c.subscribe()
		s, events := w.serving()
		c.link(goldenMain)
		wantEvent(t, events, `{"event":"connected","proxy":"kitchen","mtu":247}`)

		c.send(&apipb.BluetoothGATTReadRequest{Address: uint64(goldenMain), Handle: 26})
		c.send(&apipb.BluetoothGATTWriteRequest{Address: uint64(goldenMain), Handle: 29, Response: true, Data: []byte{1, 2}})
		read := wantEvent(t, events, `{"event":"read","id":1,"handle":26}`)
		<-time.After(10 * time.Second) // a slow process; the write waits behind the read
		if len(events) != 0 {
			t.Error("a request was sent before the one before it was answered:", <-events)
		}
		if err := s.Answer(read.ID, []byte("live"), 0); err != nil {
			t.Error(err)
		}
		if got := c.answer(26); got != "6c697665" {
			t.Errorf("read %s", got)
		}
		written := wantEvent(t, events, `{"event":"write","id":2,"handle":29,"value":"0102"}`)
		if err := s.Answer(written.ID, nil, 0x80); err != nil {
			t.Error(err)
		}
		if got := c.answer(29); got != "error 128" {
			t.Errorf("write that is refused: %s", got)
		}
		for _, id := range []uint64{0, 1, 2, 3} {
			if err := s.Answer(id, nil, 0); err == nil || !strings.Contains(err.Error(), "does not wait") {
				t.Errorf("answer to %d: %v", id, err)
			}
		}
		if got := c.write(goldenMain, 31, []byte{9}, false); got != "written" {
			t.Error(got)
		}
		wantEvent(t, events, `{"event":"write","handle":31,"value":"09"}`)

		// What the table forbids, and descriptors, do not come so far.
		for handle, want := range map[uint32]string{29: "error 2", 60: "error 15", 9999: "error 1"} {
			if got := c.read(goldenMain, handle); got != want {
				t.Errorf("%d: %s, want %s", handle, got, want)
			}
		}
		if len(events) != 0 {
			t.Error("unexpected:", <-events)
		}
		c.send(request(goldenMain, rtDisconnect))
		wantEvent(t, events, `{"event":"disconnected"}`)
		<-time.After(time.Second)
		drain(c)
		s.Close()
		s.Close()
		if err := s.Push(40, nil, false); !errors.Is(err, ErrNotServed) {
			t.Error(err)
		}
		c.link(goldenMain)
		if got := c.read(goldenMain, 26); got != "68656c6c6f" {
			t.Errorf("the table does not answer again: %s", got)
		}
		c.close()
	})
}

// Values are pushed to who has subscribed; an indication at a time.
func TestServedSubscriptions(t *testing.T) {
	linked(t, ProxyConfig{}, func(w *world, c *peer) {
		s, events := w.serving()
		wantEvent(t, events, `{"event":"connected","proxy":"kitchen","mtu":247}`) // a link that was up before
		if err := s.Push(40, []byte{1}, true); err == nil || !strings.Contains(err.Error(), "nobody has subscribed") {
			t.Error(err)
		}
		c.send(&apipb.BluetoothGATTNotifyRequest{Address: uint64(goldenMain), Handle: 40, Enable: true})
		expect[*apipb.BluetoothGATTNotifyResponse](c)
		if got := c.writeDescriptor(goldenMain, 41, []byte{2, 0}); got != "written" {
			t.Error(got)
		}
		wantEvent(t, events, `{"event":"subscribed","handle":40,"indicate":true}`)
		if err := s.Push(40, []byte{1}, false); err == nil {
			t.Error("a notification of what is indicated was sent")
		}
		if err := s.Push(40, []byte{1}, true); err != nil {
			t.Error(err)
		}
		if err := s.Push(40, []byte{2}, true); err == nil || !strings.Contains(err.Error(), "waits for its confirmation") {
			t.Error(err)
		}
		wantEvent(t, events, `{"event":"confirmed","handle":40}`)
		if err := s.Push(40, []byte{3}, true); err != nil {
			t.Error(err)
		}
		for _, want := range []byte{1, 3} {
			if n := expect[*apipb.BluetoothGATTNotifyDataResponse](c); n.GetHandle() != 40 || n.GetData()[0] != want {
				t.Errorf("got %v, want %d", n, want)
			}
		}
		wantEvent(t, events, `{"event":"confirmed","handle":40}`)
		if got := c.writeDescriptor(goldenMain, 41, []byte{0, 0}); got != "written" {
			t.Error(got)
		}
		wantEvent(t, events, `{"event":"subscribed","handle":40}`)
	})
}

// A process that dies, or never answers, holds up nobody for good.
func TestServerThatDoesNotAnswer(t *testing.T) {
	linked(t, ProxyConfig{}, func(w *world, c *peer) {
		s, events := w.serving()
		wantEvent(t, events, `{"event":"connected","proxy":"kitchen","mtu":247}`)
		if _, err := w.air.Serve("main", func(Event) bool { return true }); err == nil || !strings.Contains(err.Error(), "another connection does") {
			t.Error(err)
		}
		c.send(&apipb.BluetoothGATTReadRequest{Address: uint64(goldenMain), Handle: 26})
		wantEvent(t, events, `{"event":"read","id":1,"handle":26}`)
		s.Close()
		if got := c.answer(26); got != "error 14" {
			t.Errorf("died: %s", got)
		}
		// One that takes no events counts as dead.
		if _, err := w.air.Serve("main", func(Event) bool { return false }); err != nil {
			t.Error(err)
		}
		s, events = w.serving()
		wantEvent(t, events, `{"event":"connected","proxy":"kitchen","mtu":247}`)
		begun := time.Now()
		c.send(&apipb.BluetoothGATTReadRequest{Address: uint64(goldenMain), Handle: 26})
		wantEvent(t, events, `{"event":"read","id":1,"handle":26}`)
		wantEvent(t, events, `{"event":"disconnected"}`)
		if took := time.Since(begun); took < answerTime || took > answerTime+time.Second {
			t.Errorf("the link ended after %s", took)
		}
		if err := s.Answer(1, nil, 0); err == nil {
			t.Error("a request of a link that is gone was answered")
		}
		if got := expect[*apipb.BluetoothDeviceConnectionResponse](c); got.GetConnected() || got.GetError() != ReasonTimeout {
			t.Errorf("%v", got)
		}
	})
}

// The same over a socket; who leaves it is no server any more.
func TestServedByProtocol(t *testing.T) {
	sim, dir := simulation(t)
	dial := func() (net.Conn, func(request, want string)) {
		conn, err := net.Dial("unix", filepath.Join(dir, "main.sock"))
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(conn)
		return conn, func(request, want string) {
			t.Helper()
			if request != "" {
				if _, err := fmt.Fprintln(conn, request); err != nil {
					t.Fatal(err)
				}
			}
			if !lines.Scan() {
				t.Fatalf("%s: %v", request, lines.Err())
			}
			if got := lines.Text(); got != want {
				t.Errorf("%s:\n got %s\nwant %s", request, got, want)
			}
		}
	}
	conn, ask := dial()
	ask(`{"op":"answer","id":1}`, `{"ok":false,"error":"cannot answer: this connection does not serve"}`)
	ask(`{"op":"serve"}`, `{"ok":true}`)
	ask(`{"op":"serve"}`, `{"ok":false,"error":"cannot serve: this connection does already"}`)
	ask(`{"op":"answer","id":7,"value":"00"}`, `{"ok":false,"error":"cannot answer request 7: it does not wait for an answer"}`)
	ask(`{"op":"notify","handle":37,"value":"00"}`, `{"ok":false,"error":"cannot notify handle 37: nobody has subscribed that"}`)
	other, askOther := dial()
	defer other.Close()
	askOther(`{"op":"serve"}`, `{"ok":false,"error":"cannot serve \"main\": another connection does"}`)

	var read []byte
	var code ble.ATTError
	done := make(chan struct{})
	l := sim.air.connectForTest("main", func(l *link) {
		l.read(26, func(value []byte, e ble.ATTError) { read, code = value, e; close(done) })
	})
	ask("", `{"event":"connected","proxy":"test","mtu":247}`)
	ask("", `{"event":"read","id":1,"handle":26}`)
	ask(`{"op":"answer","id":1,"value":"0a0b"}`, `{"ok":true}`)
	<-done
	if string(read) != "\n\v" || code != 0 {
		t.Errorf("read %x, %v", read, code)
	}
	done = make(chan struct{})
	l(func(l *link) { l.write(29, []byte{5}, true, func(e ble.ATTError) { code = e; close(done) }) })
	ask("", `{"event":"write","id":2,"handle":29,"value":"05"}`)
	conn.Close()
	<-done
	if code != ble.ATTUnlikely {
		t.Errorf("%v", code)
	}
	askOther(`{"op":"serve"}`, `{"ok":true}`)
	askOther("", `{"event":"connected","proxy":"test","mtu":247}`)
}

// deaf is a central that wants to hear nothing.
type deaf struct{}

func (deaf) notified(uint16, []byte) {}
func (deaf) lost(int32)              {}
func (deaf) securityRequested()      {}

// connectForTest links a central that is no proxy to a peripheral, and gives what works on the link.
func (a *Air) connectForTest(id string, first func(*link)) func(func(*link)) {
	var l *link
	with := func(f func(*link)) {
		_ = a.with(id, func(p *peripheral) error {
			if l == nil {
				l = a.connect(p, deaf{}, "test", "test", false)
			}
			f(l)
			return nil
		})
	}
	with(first)
	return with
}
