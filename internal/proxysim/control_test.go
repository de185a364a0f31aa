package proxysim

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// simulation runs the golden peripherals with one plaintext proxy on TCP.
func simulation(t *testing.T) (sim *Simulation, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "control")
	sim, err := New(Options{
		Peripherals: goldenSpecs(t), ControlDir: dir, Log: slog.New(slog.DiscardHandler),
		Proxies: []ProxySpec{{ProxyConfig: ProxyConfig{Name: "kitchen"}, Listen: "127.0.0.1:0"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sim.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("simulation: %v", err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return sim, dir
}

func TestControlProtocol(t *testing.T) {
	sim, dir := simulation(t)
	conn, err := net.Dial("unix", filepath.Join(dir, "main.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewScanner(conn)
	empty := `{"ok":true,"connections":0,"advertising":%v,"writes":[],"subscriptions":[]}`
	tests := []struct{ request, want string }{
		{`{"op":"status"}`, fmt.Sprintf(empty, true)},
		{`{"op":"advertise","on":false}`, `{"ok":true}`},
		{`{"op":"status"}`, fmt.Sprintf(empty, false)},
		{`{"op":"reset"}`, `{"ok":true}`},
		{`{"op":"status"}`, fmt.Sprintf(empty, true)},
		{`{"op":"forget_bonds"}`, `{"ok":true}`},
		{`{"op":"disconnect","reason":19}`, `{"ok":true}`},
		{`{"op":"notify","handle":37,"value":"0a0b"}`, `{"ok":true}`},
		{`{"op":"notify","handle":40,"value":"aa","indicate":true}`, `{"ok":true}`},
		{`{"op":"set_value","handle":26,"value":"00"}`, `{"ok":true}`},
		{`{"op":"set_rssi","proxy":"kitchen","rssi":-70}`, `{"ok":true}`},
		{`{"op":"set_value","handle":2,"value":"00"}`, `{"ok":false,"error":"cannot set handle 2 to 1 bytes: no such attribute, or longer than 512"}`},
		{`{"op":"set_advertisement","raw_advertisement":"` + strings.Repeat("00", 32) + `"}`,
			`{"ok":false,"error":"cannot advertise 32 and 0 bytes: an advertisement and a scan response have 31 each"}`},
		{`{"op":"dance"}`, `{"ok":false,"error":"cannot do \"dance\": no such operation"}`},
		{`nonsense`, `{"ok":false,"error":"invalid character 'o' in literal null (expecting 'u')"}`},
	}
	for _, tt := range tests {
		if _, err := fmt.Fprintln(conn, tt.request); err != nil {
			t.Fatal(err)
		}
		if !answers.Scan() {
			t.Fatalf("%s: %v", tt.request, answers.Err())
		}
		if got := answers.Text(); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.request, got, tt.want)
		}
	}
	if sim.Addr("kitchen") == nil || sim.Addr("garage") != nil || sim.Proxy("garage") != nil {
		t.Error("addresses are mixed up")
	}
}

func TestChangedAdvertisementLeavesNothingStale(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{}))
		c.subscribe()
		for i := range 50 {
			<-time.After(137 * time.Millisecond) // at ever other moments of the flush
			if err := w.air.SetAdvertisement("main", []byte{2, 1, byte(i)}, []byte{}); err != nil {
				t.Fatal(err)
			}
			w.air.Drain(w.ctx)
			w.settle() // what was sent before has arrived
			drain(c)
			batches, _ := c.adverts(210 * time.Millisecond)
			if got := payloads(batches, goldenMain); len(got) != 1 || got[fmt.Sprintf("0201%02x", i)] == 0 {
				t.Fatalf("change %d: %v", i, got)
			}
		}
		// Only a part that is given changes.
		_ = w.air.SetAdvertisement("main", nil, []byte{1, 9})
		drain(c)
		batches, _ := c.adverts(300 * time.Millisecond)
		if got := payloads(batches, goldenMain); got["0201310109"] == 0 {
			t.Errorf("partial change: %v", got)
		}
		_ = w.air.Reset("main")
		w.settle()
		drain(c)
		batches, _ = c.adverts(300 * time.Millisecond)
		if got := payloads(batches, goldenMain); len(got) != 1 || got[goldenAdv+goldenRsp] == 0 {
			t.Errorf("after reset: %v", got)
		}
		_ = w.air.Advertise("main", false)
		w.settle()
		drain(c)
		batches, _ = c.adverts(time.Second)
		if got := payloads(batches, goldenMain); len(got) != 0 {
			t.Errorf("silenced: %v", got)
		}
		c.close()
	})
}

func TestRSSIChanges(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{}))
		c.subscribe()
		_ = w.air.SetRSSI("main", "kitchen", -33, true)
		_ = w.air.SetRSSI("beacon", "kitchen", 0, false)
		<-time.After(200 * time.Millisecond)
		drain(c)
		batches, _ := c.adverts(time.Second)
		for _, b := range batches {
			for _, adv := range b {
				if ble.Address(adv.GetAddress()) != goldenMain || adv.GetRssi() != -33 {
					t.Errorf("got %v", adv)
				}
			}
		}
		if len(batches) == 0 {
			t.Error("nothing is heard")
		}
		c.close()
	})
}

func TestControlServerRefusesNames(t *testing.T) {
	air, err := NewAir([]DeviceSpec{{ID: "../evil", Address: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewControlServer(air, t.TempDir(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a socket outside of the folder")
	}
}

func TestSimulateOverTCP(t *testing.T) {
	sim, _ := simulation(t)
	conn, err := net.Dial("tcp", sim.Addr("kitchen").String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f := apiwire.NewPlain(conn)
	buf, err := f.AppendMessage(nil, &apipb.HelloRequest{ClientInfo: "tcp"})
	if err == nil {
		_, err = conn.Write(buf)
	}
	if err != nil {
		t.Fatal(err)
	}
	if id, _, err := f.Read(); err != nil || id != apiwire.HelloResponse {
		t.Errorf("got %v, %v", id, err)
	}
	// The address is taken: another simulation says so.
	_, err = New(Options{Log: slog.New(slog.DiscardHandler), Proxies: []ProxySpec{{
		ProxyConfig: ProxyConfig{Name: "garage"}, Listen: sim.Addr("kitchen").String()}}})
	if err == nil || !strings.Contains(err.Error(), "proxy garage") {
		t.Errorf("got %v", err)
	}
}

func TestSimulateEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := Simulate(ctx, Options{
		Log: slog.New(slog.DiscardHandler), Ready: func(*Simulation) { cancel() },
		Proxies: []ProxySpec{{ProxyConfig: ProxyConfig{Name: "a"}, Listen: "127.0.0.1:0"}},
	})
	if err != nil {
		t.Error(err)
	}
}
