package share

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bluez-esphome/internal/apiserver"
	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// Messages that this program does not know.
const (
	newRequest apiwire.ID = 4000 + iota
	newAnswer
	image apiwire.ID = 44 // CameraImageResponse
)

// What is not the proxy's goes to the device as it came, and back, each in its order; the device is told who the host
// is.
func TestRestUnread(t *testing.T) {
	inHouse(t, func(h *house) {
		host := h.host(true)
		for i := range byte(100) {
			if err := host.unread(newRequest, 0xff, 0xff, i); err != nil {
				t.Fatal(err)
			}
		}
		d := h.device.session(0)
		got := d.heard()
		for i, m := range got {
			if m.ID != newRequest || fmt.Sprint(m.Payload) != fmt.Sprint([]byte{0xff, 0xff, byte(i)}) {
				t.Fatalf("message %d is %v %v", i, m.ID, m.Payload)
			}
		}
		if len(got) != 100 {
			t.Fatalf("the device got %d of 100 messages", len(got))
		}
		if d.hello.GetClientInfo() != "Home Assistant 2026.11" || d.hello.GetApiVersionMinor() != 17 {
			t.Errorf("the device was told %v", d.hello)
		}
		for i := range byte(100) {
			if !d.tell(newAnswer, []byte{i, 0xfe}) {
				t.Fatal("an answer was not taken")
			}
		}
		answers := host.got(newAnswer)
		if len(answers) != 100 {
			t.Fatalf("the host got %d of 100 answers", len(answers))
		}
		for i, m := range answers {
			if fmt.Sprint(m.Payload) != fmt.Sprint([]byte{byte(i), 0xfe}) {
				t.Fatalf("answer %d is %v", i, m.Payload)
			}
		}
		st := h.p.Status().Hosts[0]
		if !st.Entities || st.Bluetooth || st.ToDevice != 100 || st.FromDevice != 100 {
			t.Errorf("status %+v", st)
		}
	})
}

// The device's proxy messages are ours: none that it sends in such a session comes to the host.
func TestRestKeepsTheProxy(t *testing.T) {
	inHouse(t, func(h *house) {
		host := h.host(true)
		host.send(&apipb.ListEntitiesRequest{})
		d := h.device.session(0)
		d.say(&apipb.BluetoothConnectionsFreeResponse{Limit: 9})
		d.say(&apipb.BluetoothDeviceConnectionResponse{Address: 1, Connected: true})
		d.say(&apipb.PingRequest{})
		if n := len(host.got(apiwire.BluetoothConnectionsFreeResponse)) + len(host.got(apiwire.BluetoothDeviceConnectionResponse)) + len(host.got(apiwire.PingRequest)); n != 0 {
			t.Errorf("%d messages of the device's own proxy were passed on", n)
		}
		if got := d.heard(); len(got) != 2 || got[1].ID != apiwire.PingResponse {
			t.Errorf("the device's ping was not answered: %v", got)
		}
	})
}

// A host that only uses the proxy costs the device nothing.
func TestRestOnlyWhenAsked(t *testing.T) {
	inHouse(t, func(h *house) {
		host := h.host(true)
		host.send(subscribe, &apipb.SubscribeBluetoothConnectionsFreeRequest{}, &apipb.DeviceInfoRequest{}, &apipb.DeviceCapabilitiesRequest{})
		if len(host.got(apiwire.DeviceInfoResponse)) != 1 || len(h.device.sessions) != 0 {
			t.Errorf("the device has %d sessions", len(h.device.sessions))
		}
		if st := h.p.Status().Hosts[0]; st.Entities || !st.Bluetooth {
			t.Errorf("status %+v", st)
		}
	})
}

// A device without a place: the host has the proxy and learns what the device has, so that it deletes nothing, and is
// made to come back when there is a place, unless it holds a link.
func TestRestFull(t *testing.T) {
	inHouse(t, func(h *house) {
		h.device.full = true
		host := h.host(true)
		host.send(subscribe, &apipb.ListEntitiesRequest{}, &apipb.SubscribeLogsRequest{Level: 5})
		if n := len(host.got(16)); n != 1 || len(host.got(apiwire.ListEntitiesDoneResponse)) != 1 {
			t.Errorf("%d entities are listed, want 1 and the end of the list", n)
		}
		if lines := host.got(apiwire.SubscribeLogsResponse); len(lines) != 1 || !strings.Contains(string(lines[0].Payload), "takes no further API client") {
			t.Errorf("the host's log is %v", lines)
		}
		if st := h.p.Status().Hosts[0]; st.Entities || !st.Bluetooth || !strings.Contains(st.Refused, "no further API client") {
			t.Errorf("status %+v", st)
		}
		h.p.Adverts(batch(1, 1))
		if len(host.got(apiwire.BluetoothLERawAdvertisementsResponse)) != 1 {
			t.Error("Bluetooth does not go on")
		}
		if err := host.unread(newRequest, 1); err != nil { // is not kept
			t.Fatal(err)
		}
		host.send(&apipb.BluetoothDeviceRequest{Address: uint64(device1), RequestType: 5, HasAddressType: true})
		h.device.full = false
		time.Sleep(3 * openAgain)
		if host.isOver() {
			t.Fatal("a host with a link was sent away")
		}
		host.send(&apipb.BluetoothDeviceRequest{Address: uint64(device1), RequestType: 1})
		time.Sleep(openAgain)
		if !host.isOver() || !errors.Is(host.why, errRoom) {
			t.Fatalf("the host was not made to come back: %v", host.why)
		}
		for i := range h.device.sessions {
			for _, m := range h.device.session(i).heard() {
				if m.ID == newRequest {
					t.Error("what was asked for without a session was done later")
				}
			}
		}
	})
}

// A host that does not read holds back its own session with the device only; nothing is kept for it beyond a bound, and
// it loses its place.
func TestRestStalledHost(t *testing.T) {
	inHouse(t, func(h *house) {
		slow, other := h.host(false), h.host(true)
		slow.send(&apipb.ListEntitiesRequest{})
		d := h.device.session(0)
		other.send(&apipb.ListEntitiesRequest{}, subscribe)
		fast := h.device.session(1)
		taken := make(chan int)
		go func() {
			n := 0
			for d.tell(image, make([]byte, 1024)) {
				n++
			}
			taken <- n
		}()
		time.Sleep(stallTime / 2)
		for i := range 10000 {
			h.p.Adverts(batch(i, 1))
			fast.tell(image, make([]byte, 1024))
		}
		if n := len(other.got(image)); n != 10000 {
			t.Errorf("the other host got %d of 10000 images", n)
		}
		if n := len(other.got(apiwire.BluetoothLERawAdvertisementsResponse)); n == 0 {
			t.Error("the other host got no advertisement")
		}
		time.Sleep(stallTime)
		if !slow.isOver() || !errors.Is(slow.why, apiserver.ErrOverflow) {
			t.Errorf("the stalled host is still there, or left for another reason: %v", slow.why)
		}
		// In the queue, in the frames that were being written, and in the pipes' ends.
		if n := <-taken; n > 128 {
			t.Errorf("%d images of 1 KiB were taken for a host that does not read", n)
		}
		if other.isOver() {
			t.Errorf("the other host left: %v", other.why)
		}
	})
}

const stallTime = 20 * time.Second

// A host that floods a device which does not keep up is held back itself, and nobody else.
func TestRestFlood(t *testing.T) {
	inHouse(t, func(h *house) {
		h.device.deaf = true
		flood := h.host(true)
		var sent atomic.Int64
		go func() {
			for flood.unread(newRequest, make([]byte, 1024)...) == nil {
				sent.Add(1)
			}
		}()
		h.device.session(0)
		h.device.deaf = false
		other := h.host(true)
		other.send(&apipb.ListEntitiesRequest{}, subscribe)
		if got := h.device.session(1).heard(); len(got) != 1 {
			t.Errorf("the other host's session got %v", got)
		}
		h.p.Adverts(batch(1, 1))
		if len(other.got(apiwire.BluetoothLERawAdvertisementsResponse)) != 1 {
			t.Error("the other host got no advertisement")
		}
		time.Sleep(stallTime / 2)
		if n := sent.Load(); n > 256 {
			t.Errorf("%d KiB were taken of a host whose device does not read", n)
		}
		time.Sleep(2 * stallTime)
		if !flood.isOver() || other.isOver() {
			t.Errorf("over: the flooding host %v, the other %v", flood.isOver(), other.isOver())
		}
	})
}

// A host that vanishes within a frame leaves nothing of it at the device, and its session there ends; others go on.
func TestRestVanish(t *testing.T) {
	inHouse(t, func(h *house) {
		host, other := h.host(true), h.host(true)
		host.send(&apipb.ListEntitiesRequest{})
		d := h.device.session(0)
		other.send(&apipb.ListEntitiesRequest{})
		od := h.device.session(1)
		frame, _ := host.f.Append(nil, newRequest, make([]byte, 100))
		if _, err := host.conn.Write(frame[:60]); err != nil {
			t.Fatal(err)
		}
		_ = host.conn.Close()
		if got := d.heard(); len(got) != 2 || got[1].ID != apiwire.DisconnectRequest {
			t.Errorf("the device got %v, want the request before and a goodbye", got)
		}
		if !host.isOver() || other.isOver() || !od.tell(newAnswer, nil) || len(other.got(newAnswer)) != 1 {
			t.Error("the other host is touched, or the host is still there")
		}
		// And a device that vanishes within one ends the session that it belonged to: what is subscribed is gone.
		frame, _ = od.f.Append(nil, newAnswer, make([]byte, 100))
		if _, err := od.conn.Write(frame[:60]); err != nil {
			t.Fatal(err)
		}
		_ = od.conn.Close()
		if !other.isOver() || len(other.got(newAnswer)) != 1 {
			t.Error("the host does not learn that its session with the device ended, or got half a frame")
		}
	})
}

// A device that says goodbye in such a session says it to the host.
func TestRestGoodbye(t *testing.T) {
	inHouse(t, func(h *house) {
		host := h.host(true)
		host.send(&apipb.ListEntitiesRequest{})
		h.device.session(0).say(&apipb.DisconnectRequest{Reason: 1})
		bye := host.got(apiwire.DisconnectRequest)
		if len(bye) != 1 {
			t.Fatalf("the host was told %v", bye)
		}
		if m, err := apiwire.Unmarshal(bye[0].ID, bye[0].Payload); err != nil || m.(*apipb.DisconnectRequest).GetReason() != 1 {
			t.Errorf("the host was told %v, %v", m, err)
		}
	})
}

// Relayed messages and those of the proxy leave in the order in which they came.
func TestRestOrder(t *testing.T) {
	inHouse(t, func(h *house) {
		host := h.host(true)
		host.send(&apipb.ListEntitiesRequest{}, subscribe)
		d := h.device.session(0)
		for i := range 50 {
			d.tell(newAnswer, []byte{byte(i)})
			host.got(newAnswer) // waits
			h.p.Adverts([]ble.RawAdvert{{Address: device1, Data: []byte{byte(i)}}})
		}
		host.got(newAnswer)
		n := 0
		for _, m := range host.heard {
			if m.ID == newAnswer {
				n++
			}
			if m.ID == apiwire.BluetoothLERawAdvertisementsResponse {
				n--
			}
			if n < 0 || n > 1 {
				t.Fatal("the order changed")
			}
		}
	})
}
