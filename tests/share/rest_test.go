package share

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/proxysim"
)

// device gives the proxies of a world entities, so that they are more than proxies.
func device(c *proxysim.ProxyConfig) {
	c.ProjectName, c.ProjectVersion, c.Area, c.FriendlyName = "bluez-esphome.climate-node", "1.2.0", "Living Room", "Climate Node"
	c.AskTime, c.Entities = true, proxysim.DemoEntities()
}

// TestWholeDevice: ESPHome's client library finds in a shared proxy all that the device has, as it would at the device
// itself.
func TestWholeDevice(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, setup{proxy: device}, "node")
	host, _, out := w.python(t, "../sim/aio_device.py", "share", "127.0.0.1", fmt.Sprint(w.port), key, "node-shared")
	if err := host.Wait(); err != nil {
		t.Errorf("the host's checks failed: %v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	t.Log(lines[len(lines)-1])
	if e, err := w.sim.Proxy("node").Entity("identify"); err != nil || e.Presses != 1 {
		t.Errorf("the button was pressed %d times (%v), want 1", e.Presses, err)
	}
}

// TestInAnyOrder: a host may have the original already. The shared proxy is there nonetheless, with the rest of the
// device; its Bluetooth comes as soon as the other host lets go of it.
func TestInAnyOrder(t *testing.T) {
	t.Parallel()
	var other net.Conn
	w := newWorldOf(t, setup{proxy: device, first: func(addr string) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		f := apiwire.NewPlain(conn)
		var out []byte
		for _, m := range []proto.Message{&apipb.HelloRequest{ApiVersionMajor: 1}, &apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1}} {
			out, err = f.AppendMessage(out, m)
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := conn.Write(out); err != nil {
			t.Fatal(err)
		}
		for id := apiwire.ID(0); id != apiwire.BluetoothScannerStateResponse; { // it has the proxy
			id, _, err = f.Read()
			if err != nil {
				t.Fatal(err)
			}
		}
		go func() {
			for {
				if _, _, err := f.Read(); err != nil {
					return
				}
			}
		}()
		other = conn
	}}, "node")
	entities, _, list := w.python(t, "entities_client.py", "127.0.0.1", fmt.Sprint(w.port), key)
	if err := entities.Wait(); err != nil || !strings.Contains(list.String(), "7 entities, 5 states") {
		t.Fatalf("the rest of a device whose Bluetooth another host has: %v\n%s", err, list)
	}
	host, end, out := w.python(t, "reconnect_client.py", "127.0.0.1", fmt.Sprint(w.port), key)
	eventually(t, "the proxy is displaced", func() bool { return strings.Contains(w.logs.String(), "another host") })
	if strings.Contains(out.String(), "hears") {
		t.Error("the host hears something of a proxy that another host has")
	}
	_ = other.Close()
	eventually(t, "the host hears", func() bool { return strings.Contains(out.String(), "hears") })
	if strings.Contains(out.String(), "lost") {
		t.Error("the host's session ended when the proxy came")
	}
	_ = end.Close()
	if err := host.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
