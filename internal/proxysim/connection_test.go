package proxysim

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// lines notes what comes within d, one line each, with adverts and pings left out.
func (c *peer) lines(d time.Duration) []string {
	c.t.Helper()
	var out []string
	_, _ = c.receive(d, func(m proto.Message) bool {
		switch m := m.(type) {
		case *apipb.BluetoothConnectionsFreeResponse:
			out = append(out, fmt.Sprintf("81 free %d of %d %d", m.GetFree(), m.GetLimit(), len(m.GetAllocated())))
		case *apipb.BluetoothDeviceConnectionResponse:
			out = append(out, fmt.Sprintf("69 %s %v mtu %d error %#x", ble.Address(m.GetAddress()), m.GetConnected(), m.GetMtu(), m.GetError()))
		case *apipb.BluetoothScannerStateResponse:
			out = append(out, fmt.Sprintf("126 %d", m.GetState()))
		default:
			if !isNoise(m) {
				out = append(out, fmt.Sprintf("%T %v", m, m))
			}
		}
		return false
	})
	return out
}

func check(t *testing.T, what string, got, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

const (
	mainUp   = "69 00:AA:01:01:00:01 true mtu 247 error 0x0"
	mainDown = "69 00:AA:01:01:00:01 false mtu 0 error "
)

func TestConnectSequence(t *testing.T) {
	tests := []struct {
		version    string
		connected  []string
		disconnect []string
	}{
		{"2026.10.0",
			[]string{"81 free 2 of 3 1", "126 4", "126 0", "126 1", "126 2", mainUp, "81 free 2 of 3 1"},
			[]string{mainDown + "0x16", "81 free 3 of 3 0", "126 4", "126 0", "126 1", "126 2"}},
		{"2026.7.0",
			[]string{"81 free 2 of 3 1", "126 4", "126 0", "126 1", "126 2", mainUp, "81 free 2 of 3 1"},
			[]string{mainDown + "0x16", "81 free 3 of 3 0"}},
		{"2025.7.0",
			[]string{"81 free 2 of 3 1", "126 4", "126 0", "126 1", "126 2", mainUp, "81 free 2 of 3 1"},
			[]string{mainDown + "0x16", "81 free 3 of 3 0"}},
		{"2024.10.0", // no list of addresses, no reports of the scanner
			[]string{"81 free 2 of 3 0", mainUp, "81 free 2 of 3 0"},
			[]string{mainDown + "0x16", "81 free 3 of 3 0"}},
	}
	for _, tt := range tests {
		t.Run(tt.version, func(t *testing.T) {
			inWorld(t, goldenSpecs(t), func(w *world) {
				c := w.dial(w.proxy(ProxyConfig{Version: tt.version}))
				c.send(&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1})
				w.settle()
				drain(c)
				c.send(request(goldenMain, rtConnect))
				check(t, "connect", c.lines(2*time.Second), tt.connected)
				if st, _ := w.air.Status("main"); st.Connections != 1 || st.Advertising {
					t.Errorf("connected peripheral: %+v", st)
				}
				c.send(request(goldenMain, rtDisconnect))
				check(t, "disconnect", c.lines(2*time.Second), tt.disconnect)
				if st, _ := w.air.Status("main"); st.Connections != 0 || !st.Advertising {
					t.Errorf("disconnected peripheral: %+v", st)
				}
				c.close()
			})
		})
	}
}

// quietScan leaves the scanner's reports out.
func quietScan(lines []string) []string {
	out := []string{}
	for _, l := range lines {
		if l[:3] != "126" {
			out = append(out, l)
		}
	}
	return out
}

func TestConnectOutcomes(t *testing.T) {
	down := func(a ble.Address, code int32) string {
		return fmt.Sprintf("69 %s false mtu 0 error %#x", a, code)
	}
	const absent ble.Address = 0xAABBCCDDEEFF
	slot := func(n int) string { return fmt.Sprintf("81 free %d of 1 %d", 1-n, n) }
	tests := []struct {
		name string
		cfg  ProxyConfig
		do   func(*world, *peer)
		in   time.Duration
		want []string
	}{
		{"cached", ProxyConfig{}, func(_ *world, c *peer) { c.send(request(goldenMain, rtCached)) }, time.Second,
			[]string{slot(1), "69 00:AA:01:01:00:01 true mtu 23 error 0x0", slot(1)}},
		{"again while established", ProxyConfig{}, func(_ *world, c *peer) {
			c.link(goldenMain)
			c.send(request(goldenMain, rtConnect))
		}, time.Second, []string{mainUp, slot(1)}},
		{"again while connecting", ProxyConfig{}, func(_ *world, c *peer) {
			c.send(request(goldenMain, rtConnect), request(goldenMain, rtConnect))
		}, time.Second, []string{slot(1), mainUp, slot(1)}},
		{"no slot", ProxyConfig{}, func(_ *world, c *peer) {
			c.link(goldenMain)
			c.send(request(absent, rtConnect))
		}, 0, []string{down(absent, 0)}},
		{"passive proxy", ProxyConfig{Passive: true}, func(_ *world, c *peer) { c.send(request(goldenMain, rtConnect)) }, 0,
			[]string{down(goldenMain, 0)}},
		{"out of range", ProxyConfig{}, func(_ *world, c *peer) { c.send(request(absent, rtConnect)) }, 19 * time.Second,
			[]string{slot(1)}},
		{"out of range for long", ProxyConfig{}, func(_ *world, c *peer) { c.send(request(absent, rtConnect)) }, 21 * time.Second,
			[]string{slot(1), down(absent, 133), slot(0)}},
		{"old stack out of range", ProxyConfig{Stack: Stack{EstablishError: 0x3e, EstablishTimeout: 30 * time.Second}},
			func(_ *world, c *peer) { c.send(request(absent, rtConnect)) }, 31 * time.Second,
			[]string{slot(1), down(absent, 0x3e), slot(0)}},
		{"cancelled", ProxyConfig{}, func(_ *world, c *peer) {
			c.send(request(absent, rtConnect))
			<-time.After(3 * time.Second)
			c.send(request(absent, rtDisconnect))
		}, time.Second, []string{slot(1), down(absent, 0x100), slot(0)}},
		{"not connectable", ProxyConfig{}, func(_ *world, c *peer) {
			r := request(goldenBeacon, rtConnect)
			r.AddressType = 1
			c.send(r)
		}, 21 * time.Second, []string{slot(1), down(goldenBeacon, 133), slot(0)}},
		{"wrong address type", ProxyConfig{}, func(_ *world, c *peer) {
			r := request(goldenMain, rtConnect)
			r.AddressType = 1
			c.send(r)
		}, 21 * time.Second, []string{slot(1), down(goldenMain, 133), slot(0)}},
		{"resolved address type", ProxyConfig{}, func(_ *world, c *peer) {
			r := request(goldenMain, rtConnect)
			r.AddressType = 2
			c.send(r)
		}, time.Second, []string{slot(1), mainUp, slot(1)}},
		{"no address type", ProxyConfig{}, func(_ *world, c *peer) {
			r := request(goldenMain, rtConnect)
			r.HasAddressType = false
			c.send(r)
		}, time.Second, []string{down(goldenMain, 0)}},
		{"address type at the second try", ProxyConfig{}, func(_ *world, c *peer) {
			r := request(goldenMain, rtConnect)
			r.HasAddressType = false
			c.send(r, request(goldenMain, rtConnect))
		}, time.Second, []string{down(goldenMain, 0), slot(1), mainUp, slot(1)}},
		{"no address type and disconnect", ProxyConfig{}, func(_ *world, c *peer) {
			r := request(goldenMain, rtConnect)
			r.HasAddressType = false
			c.send(r, request(goldenMain, rtDisconnect))
		}, time.Second, []string{down(goldenMain, 0), down(goldenMain, 0), slot(0)}},
		{"no address type on 2025.8", ProxyConfig{Version: "2025.8.0"}, func(_ *world, c *peer) {
			r := request(goldenMain, rtConnect)
			r.HasAddressType = false
			c.send(r)
		}, time.Second, []string{slot(1), mainUp, slot(1)}},
		{"legacy request", ProxyConfig{}, func(_ *world, c *peer) { c.send(request(goldenMain, rtLegacy)) }, time.Second,
			[]string{down(goldenMain, 0)}},
		{"disconnect without a link", ProxyConfig{}, func(_ *world, c *peer) { c.send(request(goldenMain, rtDisconnect)) }, time.Second,
			[]string{down(goldenMain, 0), slot(0)}},
		{"not advertising at first", ProxyConfig{}, func(w *world, c *peer) {
			_ = w.air.Advertise("main", false)
			c.send(request(goldenMain, rtConnect))
			<-time.After(5 * time.Second)
			_ = w.air.Advertise("main", true)
		}, time.Second, []string{slot(1), mainUp, slot(1)}},
		{"connected elsewhere", ProxyConfig{}, func(w *world, c *peer) {
			other := w.dial(w.proxy(ProxyConfig{Name: "garage"}))
			other.subscribe()
			other.link(goldenMain)
			drain(c)
			c.send(request(goldenMain, rtConnect))
			w.wg.Go(func() {
				<-time.After(21 * time.Second)
				other.close()
			})
		}, 21 * time.Second, []string{slot(1), down(goldenMain, 133), slot(0)}},
		{"peer leaves", ProxyConfig{}, func(w *world, c *peer) {
			c.link(goldenMain)
			_ = w.air.Disconnect("main", ReasonRemote)
		}, time.Second, []string{down(goldenMain, 0x13), slot(0)}},
		{"supervision timeout", ProxyConfig{}, func(w *world, c *peer) {
			c.link(goldenMain)
			_ = w.air.Disconnect("main", ReasonTimeout)
		}, time.Second, []string{down(goldenMain, 0x08), slot(0)}},
		{"peer leaves during set-up", ProxyConfig{}, func(w *world, c *peer) {
			c.send(request(goldenMain, rtConnect))
			for {
				if st, _ := w.air.Status("main"); st.Connections == 1 {
					break
				}
				<-time.After(time.Millisecond)
			}
			_ = w.air.Disconnect("main", ReasonRemote)
		}, time.Second, []string{slot(1), down(goldenMain, 0x13), slot(0)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, goldenSpecs(t), func(w *world) {
				if !tt.cfg.Passive {
					tt.cfg.Slots = 1
				}
				c := w.dial(w.proxy(tt.cfg))
				c.subscribe()
				tt.do(w, c)
				got := quietScan(c.lines(max(tt.in, time.Millisecond)))
				check(t, "answers", got, tt.want)
				c.close()
			})
		})
	}
}

func TestConnectErrorOfTheFile(t *testing.T) {
	specs := goldenSpecs(t)
	specs[0].ConnectError = map[string]int32{"kitchen": 0x85}
	inWorld(t, specs, func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{}))
		c.subscribe()
		c.send(request(goldenMain, rtConnect))
		check(t, "answers", quietScan(c.lines(time.Second)),
			[]string{"81 free 2 of 3 1", mainDown + "0x85", "81 free 3 of 3 0"})
		c.close()
	})
}

func TestOneAttemptAtATime(t *testing.T) {
	const absent ble.Address = 0xAABBCCDDEEFF
	inWorld(t, goldenSpecs(t), func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{}))
		c.subscribe()
		c.send(request(absent, rtConnect), request(goldenMain, rtConnect))
		// While the first attempt lasts the other one is parked and nothing is heard.
		check(t, "parked", quietScan(c.lines(10*time.Second)), []string{"81 free 2 of 3 1", "81 free 1 of 3 2"})
		if n, _ := c.adverts(5 * time.Second); len(n) != 0 {
			t.Errorf("%d batches during an attempt", len(n))
		}
		check(t, "promoted", quietScan(c.lines(10*time.Second)),
			[]string{"69 AA:BB:CC:DD:EE:FF false mtu 0 error 0x85", "81 free 2 of 3 1", mainUp, "81 free 2 of 3 1"})
		if n, _ := c.adverts(time.Second); len(n) == 0 {
			t.Error("no adverts with a link")
		}
		c.close()
	})
}

func TestParkedAttemptIsCancelled(t *testing.T) {
	const absent ble.Address = 0xAABBCCDDEEFF
	inWorld(t, goldenSpecs(t), func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{}))
		c.subscribe()
		c.send(request(absent, rtConnect), request(goldenMain, rtConnect), request(goldenMain, rtDisconnect))
		check(t, "answers", quietScan(c.lines(time.Second)),
			[]string{"81 free 2 of 3 1", "81 free 1 of 3 2", mainDown + "0x0", "81 free 2 of 3 1"})
		c.close()
	})
}

func TestRestart(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		p := w.proxy(ProxyConfig{})
		c := w.dial(p)
		c.subscribe()
		c.link(goldenMain)
		c.send(&apipb.BluetoothScannerSetModeRequest{Mode: 0},
			&apipb.BluetoothDeviceRequest{Address: uint64(goldenMain), RequestType: rtPair})
		expect[*apipb.BluetoothDevicePairingResponse](c)
		p.Restart(5 * time.Second)
		if err := <-c.ended; err == nil {
			t.Error("the session lives")
		}
		refused := w.connect(p)
		<-time.After(time.Second)
		if _, ok := <-refused.msgs; ok {
			t.Error("not refused")
		}
		<-time.After(5 * time.Second)
		if st, _ := w.air.Status("main"); st.Connections != 0 || p.Slots().Free != 3 || p.ScanMode() != ble.ScanActive || !p.Bonded(goldenMain) {
			t.Errorf("after the restart: %+v %+v %v", st, p.Slots(), p.ScanMode())
		}
		c = w.dial(p)
		c.subscribe()
		if n, _ := c.adverts(time.Second); len(n) == 0 {
			t.Error("nothing is heard")
		}
		c.close()
	})
}
