package proxysim

import (
	"fmt"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

const (
	factAbsent ble.Address = 0xAABBCCDDEEFF
	absentDown             = "69 AA:BB:CC:DD:EE:FF false mtu 0 error "
)

func TestFact06FailedAttempts(t *testing.T) {
	one := []string{absentDown + "0x85", "81 free 3 of 3 0"}
	two := []string{absentDown + "0x100", absentDown + "0x85", "81 free 3 of 3 0"}
	for _, tt := range []struct {
		cfg  ProxyConfig
		want []string
	}{
		{ProxyConfig{Version: "2026.10.0"}, one}, {ProxyConfig{Version: "2026.8.2"}, one}, // the first: M
		{ProxyConfig{Version: "2026.7.4"}, two}, {ProxyConfig{Version: "2026.6.5"}, two}, // the second: M
		{ProxyConfig{Version: "2025.11.0", Stack: Stack{EstablishError: 0x3e}}, []string{absentDown + "0x3e", absentDown + "0x85", "81 free 3 of 3 0"}},
		{ProxyConfig{Version: "2025.7.0"}, []string{absentDown + "0x100", "81 free 3 of 3 0"}}, // freed at DISCONNECT
	} {
		t.Run(tt.cfg.Version, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				c := w.dial(w.proxy(tt.cfg))
				c.subscribe()
				start := time.Now()
				c.send(request(factAbsent, rtConnect))
				check(t, "reservation", c.lines(19*time.Second), []string{"81 free 2 of 3 1", "126 4", "126 0"})
				var at []time.Duration
				for range len(tt.want) - 1 {
					_, when := expectAt[*apipb.BluetoothDeviceConnectionResponse](c)
					at = append(at, when.Sub(start))
				}
				if at[0] != 20*time.Second || len(at) > 1 && at[1]-at[0] != 150*time.Millisecond {
					t.Errorf("reported after %v", at)
				}
				c.close()
			})
			inWorld(t, nil, func(w *world) {
				c := w.dial(w.proxy(tt.cfg))
				c.subscribe()
				c.send(request(factAbsent, rtConnect))
				check(t, "attempt", quietScan(c.lines(30*time.Second)), append([]string{"81 free 2 of 3 1"}, tt.want...))
				c.close()
			})
		})
	}
}

func TestFact06EndsOfLinks(t *testing.T) {
	const free = "81 free 3 of 3 0"
	for _, tt := range []struct {
		version    string
		peer, ours []string
	}{
		{"2026.10.0", []string{mainDown + "0x13", free}, []string{mainDown + "0x16", free}}, // M
		{"2026.8.2", []string{mainDown + "0x13", free}, []string{mainDown + "0x16", free}},
		{"2026.7.4", []string{mainDown + "0x13", mainDown + "0x13", free}, []string{mainDown + "0x16", free}},
		{"2026.6.5", []string{mainDown + "0x13", mainDown + "0x13", free}, []string{mainDown + "0x16", free}}, // M; ours: L
		{"2025.7.0", []string{mainDown + "0x13", free, "69 00:00:00:00:00:00 false mtu 0 error 0x0"}, []string{mainDown + "0x16", free}},
	} {
		t.Run(tt.version, func(t *testing.T) {
			linked(t, ProxyConfig{Version: tt.version}, func(w *world, c *peer) {
				_ = w.air.Disconnect("main", ReasonRemote)
				check(t, "ended by the peer", quietScan(c.lines(time.Second)), tt.peer)
			})
			linked(t, ProxyConfig{Version: tt.version}, func(w *world, c *peer) {
				c.send(request(goldenMain, rtDisconnect))
				check(t, "ended by us", quietScan(c.lines(time.Second)), tt.ours)
			})
		})
	}
	t.Run("without a reason", func(t *testing.T) { // L: some stacks
		linked(t, ProxyConfig{Stack: Stack{SilentEnd: true}}, func(w *world, c *peer) {
			c.send(request(goldenMain, rtDisconnect))
			check(t, "ended by us", quietScan(c.lines(time.Second)), []string{mainDown + "0x0", free})
		})
	})
}

func TestFact07DisconnectDuringAttempt(t *testing.T) {
	for _, tt := range []struct {
		version string
		after   time.Duration
		code    string
	}{
		{"2026.10.0", 15 * time.Millisecond, "0x100"},                                // M
		{"2026.9.1", 10 * time.Second, "0x8"}, {"2026.8.2", 10 * time.Second, "0x8"}, // only read
		{"2026.7.4", 17 * time.Second, "0x100"}, {"2026.6.5", 17 * time.Second, "0x100"}, // the second: M
		// taken to be the same: the older stack
		{"2024.10.0", 17 * time.Second, "0x100"}, {"2025.11.0", 17 * time.Second, "0x100"},
	} {
		t.Run(tt.version, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				c := w.dial(w.proxy(ProxyConfig{Version: tt.version}))
				c.send(&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1}, request(factAbsent, rtConnect))
				expect[*apipb.BluetoothConnectionsFreeResponse](c)
				<-time.After(3 * time.Second)
				start := time.Now()
				c.send(request(factAbsent, rtDisconnect), request(factAbsent, rtDisconnect))
				m, at := expectAt[*apipb.BluetoothDeviceConnectionResponse](c)
				if d := at.Sub(start); m.GetConnected() || fmt.Sprintf("%#x", m.GetError()) != tt.code || d != tt.after {
					t.Errorf("%v after %v", m, d)
				}
				c.close()
			})
		})
	}
	t.Run("2026.8 whose attempt ends sooner", func(t *testing.T) {
		inWorld(t, nil, func(w *world) {
			c := w.dial(w.proxy(ProxyConfig{Version: "2026.8.2"}))
			c.subscribe()
			c.send(request(factAbsent, rtConnect))
			c.lines(15 * time.Second)
			c.send(request(factAbsent, rtDisconnect))
			if m, _ := expectAt[*apipb.BluetoothDeviceConnectionResponse](c); m.GetError() != codeGATTError {
				t.Errorf("got %v", m)
			}
			c.close()
		})
	})
	// Until the attempt that nobody wants is over, nothing else is answered (M 2026.6.5).
	t.Run("2026.6 and the others", func(t *testing.T) {
		const third ble.Address = 0x020000000003
		inWorld(t, goldenSpecs(t), func(w *world) {
			c := w.dial(w.proxy(ProxyConfig{Version: "2026.6.5"}))
			c.subscribe()
			c.send(request(factAbsent, rtConnect), request(factAbsent, rtDisconnect), request(third, rtConnect),
				request(goldenMain, rtConnect), request(third, rtDisconnect))
			check(t, "for 19 s", c.lines(19*time.Second), []string{
				"81 free 2 of 3 1", "126 4", "81 free 1 of 3 2", "81 free 0 of 3 3", "126 0",
			})
			check(t, "then", quietScan(c.lines(10*time.Second)), []string{
				absentDown + "0x100", "69 02:00:00:00:00:03 false mtu 0 error 0x0", "81 free 1 of 3 2",
				absentDown + "0x85", "81 free 2 of 3 1", mainUp, "81 free 2 of 3 1",
			})
			c.close()
		})
	})
	t.Run("2026.6 and the peripheral comes", func(t *testing.T) {
		inWorld(t, goldenSpecs(t), func(w *world) {
			_ = w.air.Advertise("main", false)
			c := w.dial(w.proxy(ProxyConfig{Version: "2026.6.5"}))
			c.subscribe()
			c.send(request(goldenMain, rtConnect), request(goldenMain, rtDisconnect))
			c.lines(5 * time.Second)
			_ = w.air.Advertise("main", true)
			check(t, "answers", quietScan(c.lines(time.Second)), []string{mainDown + "0x16", "81 free 3 of 3 0"})
			c.close()
		})
	})
}

func TestFact08MTUOfACachedLink(t *testing.T) {
	specs := goldenSpecs(t)
	small := specs[0]
	small.ID, small.Address, small.MTU = "small", 0x00AA01010002, 50
	for _, tt := range []struct {
		version string
		first   uint32 // in a slot that is fresh
		after   uint32 // in a slot that had a link with an MTU of 247
	}{
		// 2026.10.0 and 2026.6.5: M
		{"2026.10.0", 23, 23}, {"2026.8.2", 23, 23}, {"2026.7.4", 23, 247}, {"2026.6.5", 23, 247},
	} {
		t.Run(tt.version, func(t *testing.T) {
			inWorld(t, append(specs, small), func(w *world) {
				c := w.dial(w.proxy(ProxyConfig{Version: tt.version, Slots: 1}))
				c.subscribe()
				cached := func() uint32 {
					c.send(request(small.Address, rtCached))
					expect[*apipb.BluetoothConnectionsFreeResponse](c)
					m := expect[*apipb.BluetoothDeviceConnectionResponse](c)
					c.send(request(small.Address, rtDisconnect))
					c.lines(time.Second)
					return m.GetMtu()
				}
				if got := cached(); got != tt.first {
					t.Errorf("fresh slot: %d", got)
				}
				c.link(goldenMain)
				c.unlink()
				if got := cached(); got != tt.after {
					t.Errorf("used slot: %d, want %d", got, tt.after)
				}
				if got, want := cached(), map[bool]uint32{true: 50, false: 23}[tt.after != 23]; got != want {
					t.Errorf("the slot's own link before: %d, want %d", got, want)
				}
				c.close()
			})
		})
	}
}

func TestFact08ConnectOfALinkThatIsUp(t *testing.T) {
	// 2026.10.0 and 2026.6.5: M
	for version, mtu := range map[string]int{"2026.10.0": 247, "2026.8.2": 247, "2026.6.5": 0, "2025.9.0": 0} {
		t.Run(version, func(t *testing.T) {
			again := fmt.Sprintf("69 00:AA:01:01:00:01 true mtu %d error 0x0", mtu)
			linked(t, ProxyConfig{Version: version}, func(_ *world, c *peer) {
				c.send(request(goldenMain, rtConnect))
				check(t, "established", quietScan(c.lines(time.Second)), []string{again, "81 free 2 of 3 1"})
			})
			inWorld(t, goldenSpecs(t), func(w *world) {
				c := w.dial(w.proxy(ProxyConfig{Version: version}))
				c.subscribe()
				c.send(request(goldenMain, rtConnect))
				expect[*apipb.BluetoothConnectionsFreeResponse](c)
				c.untilLinked("main")
				c.send(request(goldenMain, rtConnect), &apipb.BluetoothGATTGetServicesRequest{Address: uint64(goldenMain)})
				check(t, "during discovery", quietScan(c.lines(time.Millisecond))[:2], []string{again, "81 free 2 of 3 1"})
				check(t, "after it", quietScan(c.lines(time.Second)), []string{mainUp, "81 free 2 of 3 1"})
				c.close()
			})
		})
	}
}

// untilLinked waits until the peripheral has a link, and for what was sent until then.
func (c *peer) untilLinked(id string) {
	for {
		if st, _ := c.w.air.Status(id); st.Connections == 1 {
			c.w.settle()
			drain(c)
			return
		}
		<-time.After(time.Millisecond)
	}
}
