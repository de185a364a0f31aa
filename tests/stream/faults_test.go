package stream

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"bluez-esphome/tests/harness"
)

// crowd is a file of peripherals in which losses can be counted: a device that notifies numbers, a device whose
// payloads alternate slowly enough that D-Bus reports each, and many devices that fill the queue of the stream.
func crowd() string {
	var b strings.Builder
	b.WriteString(`{"devices": [
 {"id": "clock", "address": "C8:2B:96:00:00:01", "connectable": true, "fast": true, "advertisement": {"flags": 6, "local_name": "Clock", "interval_ms": 100},
  "gatt": {"services": [{"uuid": "181a", "characteristics": [{"uuid": "2a6e", "properties": ["notify"], "value": "00", "notify_every_ms": 50, "descriptors": [{"uuid": "2902", "value": "0000"}]}]}]}},
 {"id": "turns", "address": "C8:2B:96:00:00:02", "advertisement": {"interval_ms": 100, "frame_every_ms": 1000, "frames": [`)
	for i := range 8 {
		fmt.Fprintf(&b, `{"raw_advertisement": "02010604ffffff%02x"},`, i)
	}
	s := strings.TrimSuffix(b.String(), ",") + `]}}`
	for i := range 40 {
		s += fmt.Sprintf(`,{"id": "c%d", "address": "D0:00:00:00:00:%02X", "advertisement": {"interval_ms": 100, "frame_every_ms": 100, "frames": [
 {"raw_advertisement": "02010604ffffff01"}, {"raw_advertisement": "02010604ffffff02"}]}}`, i, i)
	}
	return s + "]}"
}

// counted keeps what a program on D-Bus has received.
type counted struct {
	mu       sync.Mutex
	notified []byte
	turns    []byte
}

// watch follows the signals of the bus.
func (c *counted) watch(conn *dbus.Conn) {
	signals := make(chan *dbus.Signal, 100_000)
	conn.Signal(signals)
	go func() {
		for s := range signals {
			if s.Name != "org.freedesktop.DBus.Properties.PropertiesChanged" || len(s.Body) < 2 {
				continue
			}
			props, _ := s.Body[1].(map[string]dbus.Variant)
			c.mu.Lock()
			if v, ok := props["Value"].Value().([]byte); ok {
				c.notified = append(c.notified, v[len(v)-1])
			}
			if m, ok := props["ManufacturerData"].Value().(map[uint16]dbus.Variant); ok && strings.HasSuffix(string(s.Path), "C8_2B_96_00_00_02") {
				v, _ := m[0xffff].Value().([]byte)
				c.turns = append(c.turns, v[0])
			}
			c.mu.Unlock()
		}
	}()
}

// gaps counts the numbers that are missing in a sequence.
func gaps(list []byte, modulus int) (missing int) {
	for i := 1; i < len(list); i++ {
		missing += (int(list[i]) - int(list[i-1]) - 1 + 2*modulus) % modulus
	}
	return missing
}

// metrics reads the metrics of a daemon.
func metrics(t *testing.T, port int) string {
	t.Helper()
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// smallSockets makes the socket buffers of this network namespace small, so that a broker that stalls is noticed soon:
// by default they hold up to 4 MB. It reports whether that worked.
func smallSockets(t *testing.T) bool {
	t.Helper()
	for _, name := range []string{"tcp_rmem", "tcp_wmem"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte("4096 8192 16384"), 0); err != nil {
			fmt.Println("skipped: that a stalled broker costs messages:", err)
			return false
		}
	}
	return true
}

// TestBrokerFails: a broker that is killed or that stalls costs messages of the stream, and programs on D-Bus lose
// nothing. The counts of the stream add up.
func TestBrokerFails(t *testing.T) {
	if !harness.Isolated(t) {
		return
	}
	stalls := smallSockets(t)
	spell := harness.ByNight(0, time.Minute) // each fault lasts at least this long, and until messages are lost
	b := mosquitto(t, "")
	_, at := harness.Simulate(t, air(t, crowd()), "kitchen=127.0.0.1:0")
	web := harness.FreePort(t)
	bus := harness.Run(t, fmt.Sprintf(`
http: {listen: "127.0.0.1:%d"}
proxies: [{name: kitchen, address: "%s"}]
stream: {mqtt: {url: "mqtt://127.0.0.1:%d", queue: 100}}
`, web, at["kitchen"], b.port))
	client := bus.Client(t)
	const adapter, clock = "/org/bluez/hci0", "/org/bluez/hci0/dev_C8_2B_96_00_00_01"
	seen := &counted{}
	conn := bus.Connect(t)
	if err := conn.AddMatchSignal(dbus.WithMatchSender("org.bluez")); err != nil {
		t.Fatal(err)
	}
	client.Call(adapter, "org.bluez.Adapter1.SetDiscoveryFilter", map[string]dbus.Variant{"DuplicateData": dbus.MakeVariant(true)})
	client.Call(adapter, "org.bluez.Adapter1.StartDiscovery")
	client.Until(clock, "org.bluez.Device1", "Name", "Clock")
	client.Call(clock, "org.bluez.Device1.Connect")
	client.Until(clock, "org.bluez.Device1", "ServicesResolved", true)
	var char dbus.ObjectPath
	for path, ifaces := range client.Objects() {
		if v := ifaces["org.bluez.GattCharacteristic1"]["UUID"]; v.Value() == "00002a6e-0000-1000-8000-00805f9b34fb" {
			char = path
		}
	}
	seen.watch(conn)
	client.Call(char, "org.bluez.GattCharacteristic1.StartNotify")
	until := func(what string, cond func(streamed) bool) streamed {
		t.Helper()
		var st streamed
		client.Eventually(what, func() bool {
			st = status(t, bus)
			if st.Queued > st.Limit {
				t.Fatalf("the queue has more than its limit: %+v", st)
			}
			return cond(st)
		})
		return st
	}
	connected := func(s streamed) bool { return s.State == "connected" && s.Queued < 100 }
	began := until("messages are published", func(s streamed) bool { return s.State == "connected" && s.Published > 0 })

	start := time.Now()
	b.Kill(t)
	killed := until("the queue is full and drops", func(s streamed) bool {
		return s.State == "waiting" && s.Queued == 100 && s.Dropped >= began.Dropped+100 && time.Since(start) >= spell
	})
	if killed.LastError == "" {
		t.Errorf("without a broker: %+v", killed)
	}
	b.start(t)
	until("it is back", connected)

	before := status(t, bus)
	start = time.Now()
	b.Signal(t, syscall.SIGSTOP) // the broker reads nothing
	stalled := until("it has stalled", func(s streamed) bool {
		return (!stalls || s.Queued == 100 && s.Dropped >= before.Dropped+100) && time.Since(start) >= spell
	})
	b.Signal(t, syscall.SIGCONT)
	until("it takes messages again", func(s streamed) bool { return connected(s) && s.Published > stalled.Published })
	until("the counts add up", streamed.adds)

	client.Eventually("the device has said all its payloads", func() bool {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		return len(seen.turns) >= 8 && len(seen.notified) >= 100
	})
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if n := gaps(seen.notified, 256); n > 0 {
		t.Errorf("%d of %d notifications did not come", n, len(seen.notified))
	}
	// The table counts the payloads that it took and that the bus did not get.
	for _, dropped := range []string{"overrun", "late", "crowded"} {
		if !strings.Contains(metrics(t, web), "\nbluez_esphome_air_"+dropped+"_total 0\n") {
			t.Errorf("advertisements did not get to D-Bus: %s", dropped)
		}
	}
	t.Logf("%d notifications, %d payloads, %+v", len(seen.notified), len(seen.turns), status(t, bus))
}
