package hostile

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/tests/harness"

	"github.com/godbus/dbus/v5"
	"google.golang.org/protobuf/proto"
)

// TestSpoofedAddressType (R3): a transmitter sends the victim's address with the other address type. The victim is
// connected to all the same: where few reports are wrong at the first attempt, even if the first one is; where nearly
// all are, at the second.
func TestSpoofedAddressType(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		wrong func(i uint64) bool // of the reports
		asked []uint32            // the types that the proxy is asked with, in order
	}{
		{"the first", func(i uint64) bool { return i == 0 }, []uint32{1}},
		{"one in ten, the first among them", func(i uint64) bool { return i%10 == 0 }, []uint32{1}},
		{"nine in ten", func(i uint64) bool { return i%10 != 0 }, []uint32{0, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			const victim, path = 0xC0EE000000AA, adapterPath + "/dev_C0_EE_00_00_00_AA"
			var mu sync.Mutex
			var asked []uint32
			var reports atomic.Uint64
			e := listen(t, plan{name: "hears", attack: func(s *session) {
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				repeat(s, func(i uint64) bool {
					<-tick.C
					a := &apipb.BluetoothLERawAdvertisement{Address: victim, Rssi: -60, AddressType: 1, Data: []byte{2, 1, 6}}
					if tc.wrong(i) {
						a.AddressType, a.Rssi = 0, -30
					}
					reports.Add(1)
					return s.send(&apipb.BluetoothLERawAdvertisementsResponse{Advertisements: []*apipb.BluetoothLERawAdvertisement{a}})
				})
			}, handle: func(s *session, m proto.Message) {
				switch m := m.(type) {
				case *apipb.BluetoothDeviceRequest:
					if m.GetRequestType() == apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CLEAR_CACHE {
						s.send(&apipb.BluetoothDeviceClearCacheResponse{Address: m.GetAddress(), Success: true})
						return
					}
					connect := m.GetRequestType() == apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE
					if !connect || m.GetAddress() != victim { // a disconnection, or the question whose the proxy is
						s.send(&apipb.BluetoothDeviceConnectionResponse{Address: m.GetAddress()})
						return
					}
					mu.Lock()
					asked = append(asked, m.GetAddressType())
					mu.Unlock()
					if m.GetAddressType() == 1 {
						s.send(&apipb.BluetoothDeviceConnectionResponse{Address: m.GetAddress(), Connected: true, Mtu: 23})
					} else { // a radio that waits for somebody else
						s.send(&apipb.BluetoothDeviceConnectionResponse{Address: m.GetAddress(), Error: 133})
					}
				case *apipb.BluetoothGATTGetServicesRequest:
					s.send(&apipb.BluetoothGATTGetServicesResponse{Address: m.GetAddress(), Services: []*apipb.BluetoothGATTService{{Handle: 1, ShortUuid: 0x1800}}})
					s.send(&apipb.BluetoothGATTGetServicesDoneResponse{Address: m.GetAddress()})
				}
			}})
			w := newWorld(t, fmt.Sprintf("  - {name: hears, address: %q}\n", e.addr), "")
			c := w.client()
			c.Call(adapterPath, adapterIface+".StartDiscovery")
			c.Eventually("there were reports", func() bool { return reports.Load() > 30 && c.Get(path, deviceIface, "Address") != nil })
			c.Call(path, deviceIface+".Connect")
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprint(asked) != fmt.Sprint(tc.asked) {
				t.Errorf("the proxy was asked with types %v, want %v", asked, tc.asked)
			}
		})
	}
}

// TestHealthIsAnswered (R12): somebody holds all the streams and connections to the HTTP listener that he is given,
// idle ones, half a request, and one more for each that he loses, and asks again and again. Health checks are answered,
// nearly all of them at once: what checks tries a few times, and none of 20 was answered in 40 s before.
func TestHealthIsAnswered(t *testing.T) {
	t.Parallel()
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	newWorld(t, "", fmt.Sprintf("http: {listen: %q}\n", address))
	check := func() (took time.Duration, err error) {
		begun := time.Now()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
		resp, err := client.Get("http://" + address + "/healthz")
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("status %d, %q, %w", resp.StatusCode, b, err)
		}
		return time.Since(begun), nil
	}
	harness.Eventually(t, patience, "a health check is answered", func() bool { _, err := check(); return err == nil })
	checks := func(when string) {
		var l times
		again := 0
		for len(l) < 20 && again < 40 {
			took, err := check()
			if err != nil {
				t.Logf("%s: health check %d: %v", when, len(l), err)
				again++
				continue
			}
			l = append(l, took)
		}
		t.Logf("%s: %v; %d more attempts", when, l, again)
		if len(l) < 20 {
			t.Errorf("%s: only %d health checks were answered", when, len(l))
		}
	}
	checks("undisturbed")
	stop := make(chan struct{})
	var attackers sync.WaitGroup
	for i := range 120 {
		request := []string{
			"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /api/snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /", "",
		}[i%4]
		attackers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := net.Dial("tcp", address)
				if err != nil {
					continue
				}
				ended := make(chan struct{})
				go func() {
					select {
					case <-stop:
					case <-ended:
					}
					_ = conn.Close()
				}()
				if strings.HasPrefix(request, "GET /api") { // asked again and again, a few times a second
					tick := time.NewTicker(100 * time.Millisecond)
					go func() {
						for _, err := conn.Write([]byte(request)); err == nil; _, err = conn.Write([]byte(request)) {
							<-tick.C
						}
					}()
				} else {
					_, _ = io.WriteString(conn, request)
				}
				_, _ = io.Copy(io.Discard, conn)
				close(ended)
			}
		})
	}
	checks("besieged")
	close(stop)
	attackers.Wait()
}

// TestNamesMultiplyNothing (R14): 128 names that StartNotify. Somebody else is told each value twice at most, as where
// there are two.
func TestNamesMultiplyNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "")
	c := w.client()
	c.Call(adapterPath, adapterIface+".StartDiscovery")
	c.link(goodPath)
	signals := make(chan *dbus.Signal, 1<<14)
	c.Conn.Signal(signals)
	if err := c.Conn.AddMatchSignal(dbus.WithMatchSender("org.bluez"), dbus.WithMatchObjectPath(notifyPath)); err != nil {
		t.Fatal(err)
	}
	c.Call(notifyPath, charIface+".StartNotify")
	for range 128 {
		w.client().Call(notifyPath, charIface+".StartNotify")
	}
	const values = 50
	told := map[uint32]int{}
	for n := uint32(1); n <= values; n++ {
		if err := w.sim.Air().Notify("good1", notifyHandle, binary.BigEndian.AppendUint32(nil, n), false); err != nil {
			t.Fatal(err)
		}
	}
	for told[values] == 0 {
		s := <-signals
		if s.Path != notifyPath || len(s.Body) != 3 {
			continue
		}
		props, _ := s.Body[1].(map[string]dbus.Variant)
		if b, ok := props["Value"].Value().([]byte); ok && len(b) == 4 {
			told[binary.BigEndian.Uint32(b)]++
		}
	}
	for n := uint32(1); n <= values; n++ {
		if told[n] < 1 || told[n] > 2 {
			t.Errorf("value %d was told %d times", n, told[n])
		}
	}
}
