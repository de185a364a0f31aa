package link

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/tests/harness"
)

// listener is a Handler that keeps what it hears.
type listener struct {
	quietHandler
	mu      sync.Mutex
	adverts []string
	values  chan []byte
	modes   []string
}

func (l *listener) Adverts(_ *apiconn.Proxy, _ time.Time, list []ble.RawAdvert) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range list {
		l.adverts = append(l.adverts, fmt.Sprintf("%v %v %d %x", a.Address, a.Type, a.RSSI, a.Data))
	}
}

func (l *listener) Notification(_ *apiconn.Proxy, a ble.Address, handle uint16, value []byte) {
	l.values <- value
}

func (l *listener) ScannerState(_ *apiconn.Proxy, s ble.ScannerState, mode, configured ble.ScannerMode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.modes = append(l.modes, fmt.Sprintf("%d %v %v", s, mode, configured))
}

// TestServerOnAioesphomeapi: our client against a server that is not ours. Both sides check.
func TestServerOnAioesphomeapi(t *testing.T) {
	py := harness.SomePython(t)
	for _, tt := range []struct {
		name, arg string
		psk       *[32]byte
	}{{"plaintext", "-", nil}, {"noise", base64.StdEncoding.EncodeToString(key[:]), &key}} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			cmd := exec.CommandContext(ctx, py, "aio_server.py", tt.arg)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			if !lines.Scan() {
				t.Fatalf("no port: %v %s", cmd.Wait(), &stderr)
			}
			port := strings.TrimPrefix(lines.Text(), "port ")
			h := &listener{values: make(chan []byte, 4)}
			p, err := apiconn.New(apiconn.Config{Address: "127.0.0.1:" + port, PSK: tt.psk, Handler: h, ClientInfo: "bluez-esphome test", ExpectName: "aio", ExpectMAC: "aa:bb:cc:dd:ee:01"})
			if err != nil {
				t.Fatal(err)
			}
			lost := make(chan error, 1)
			p.OnLost(func(err error) { lost <- err })
			if err := p.Start(ctx); err != nil {
				t.Fatalf("%v: %s", err, p.LastError())
			}
			use(ctx, t, p, h)
			var leave *apiconn.PeerDisconnectError
			select {
			case err := <-lost:
				if !errors.As(err, &leave) {
					t.Errorf("the session ended with %v", err)
				}
			case <-ctx.Done():
				t.Error("the session did not end")
			}
			p.Stop()
			last := ""
			for lines.Scan() {
				last = lines.Text()
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("aio_server.py: %v\n%s", err, &stderr)
			}
			fmt.Printf("server on aioesphomeapi's classes, %s: %s\n", tt.name, last)
		})
	}
}

func use(ctx context.Context, t *testing.T, p *apiconn.Proxy, h *listener) {
	t.Helper()
	const device ble.Address = 0xAABBCCDDEEFF
	if i := p.Info(); i.FriendlyName != "Aïo" || i.BluetoothMAC != "AA:BB:CC:DD:EE:03" || i.APIMinor != 19 || i.Features != 0xff {
		t.Errorf("learnt %+v", i)
	}
	if mtu, err := p.Connect(ctx, device, ble.Random, false); err != nil || mtu != 247 {
		t.Fatalf("connect: %d %v", mtu, err)
	}
	if s := p.Slots(); s.Free != 2 || !slices.Equal(s.Allocated, []ble.Address{device}) {
		t.Errorf("slots %+v", s)
	}
	services, err := p.Services(ctx, device)
	if err != nil || len(services) != 2 || len(services[0].Characteristics) != 1 {
		t.Fatalf("services: %+v %v", services, err)
	}
	c := services[0].Characteristics[0]
	if services[0].UUID.String() != "0000180d-0000-1000-8000-00805f9b34fb" || services[1].UUID.String() != "0000180f-0000-1000-8000-00805f9b34fb" ||
		c.UUID.String() != "00002a37-0000-1000-8000-00805f9b34fb" || c.ValueHandle != 17 || c.Properties != 0x1a || len(c.Descriptors) != 1 || c.Descriptors[0].Handle != 18 {
		t.Errorf("services: %+v", services)
	}
	if v, err := p.Read(ctx, device, 17); err != nil || len(v) != 200 {
		t.Errorf("read: %d bytes, %v", len(v), err)
	}
	var att ble.ATTError
	if err := p.Write(ctx, device, 17, []byte{1, 2}, true); !errors.As(err, &att) || att != 3 {
		t.Errorf("write: %v", err)
	}
	if err := p.Notify(ctx, device, 17, true); err != nil {
		t.Error(err)
	}
	if err := p.WriteDescriptor(ctx, device, 18, []byte{1, 0}); err != nil {
		t.Error(err)
	}
	select {
	case v := <-h.values:
		if !slices.Equal(v, []byte{0x16, 0x48}) {
			t.Errorf("notified %x", v)
		}
	case <-ctx.Done():
		t.Error("no notification")
	}
	if err := p.Disconnect(ctx, device); err != nil {
		t.Error(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if want := []string{"AA:BB:CC:DD:EE:FF random -71 020106", "11:22:33:44:55:66 public -3 "}; !slices.Equal(h.adverts, want) {
		t.Errorf("heard %q, want %q", h.adverts, want)
	}
	if !slices.Equal(h.modes, []string{"2 passive active"}) {
		t.Errorf("scanner %q", h.modes)
	}
}
