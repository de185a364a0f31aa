package proxysim

import (
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

const (
	goldenAdv = "02010605030f18f0ff020a040319410307ffffffdeadbeef05160f185701"
	goldenRsp = "110701009b5f80000080004000100001a5a50c09476f6c64656e5465737431"
)

func payloads(batches [][]*apipb.BluetoothLERawAdvertisement, a ble.Address) map[string]int {
	out := map[string]int{}
	for _, b := range batches {
		for _, adv := range b {
			if ble.Address(adv.GetAddress()) == a {
				out[hex.EncodeToString(adv.GetData())]++
			}
		}
	}
	return out
}

func TestAdvertsAreBatchedAndFlushed(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{}))
		c.subscribe()
		batches, at := c.adverts(10 * time.Second)
		got := payloads(batches, goldenMain)
		// 100 ms and up to 10 ms more each: about 95 in ten seconds, none twice or lost.
		if n := got[goldenAdv+goldenRsp]; len(got) != 1 || n < 85 || n > 100 {
			t.Errorf("golden main came as %v", got)
		}
		for i, b := range batches {
			if len(b) > 16 {
				t.Errorf("batch of %d", len(b))
			}
			if i > 0 && len(b) < 16 && at[i].Sub(at[i-1]) < 90*time.Millisecond {
				t.Errorf("partial batch %v after the one before", at[i].Sub(at[i-1]))
			}
		}
		for _, b := range batches {
			for _, adv := range b {
				if a := ble.Address(adv.GetAddress()); a == goldenBeacon && (adv.GetAddressType() != 1 || adv.GetRssi() != -60) {
					t.Errorf("beacon came as %v", adv)
				}
			}
		}
		c.close()
	})
}

func TestFullBatchIsSentAtOnce(t *testing.T) {
	var specs []DeviceSpec
	for i := range 100 {
		specs = append(specs, DeviceSpec{
			ID: fmt.Sprint(i), Address: ble.Address(i + 1), Advert: AdvertSpec{IntervalMS: 100, LocalName: "x"},
		})
	}
	for _, tt := range []struct {
		version string
		want    int
	}{{"2026.10.0", 16}, {"2025.5.0", 8}} {
		t.Run(tt.version, func(t *testing.T) {
			inWorld(t, specs, func(w *world) {
				c := w.dial(w.proxy(ProxyConfig{Version: tt.version}))
				c.subscribe()
				batches, _ := c.adverts(time.Second)
				full := 0
				for _, b := range batches {
					if len(b) > tt.want {
						t.Errorf("batch of %d", len(b))
					}
					if len(b) == tt.want {
						full++
					}
				}
				if full < 40 {
					t.Errorf("%d full batches of %d", full, len(batches))
				}
				c.close()
			})
		})
	}
}

func TestRSSIIsByProxy(t *testing.T) {
	specs := []DeviceSpec{
		{ID: "both", Address: 1, RSSI: map[string]int8{"kitchen": -50, "garage": -80}},
		{ID: "one", Address: 2, RSSI: map[string]int8{"garage": -70}},
		{ID: "all", Address: 3},
		{ID: "star", Address: 5, RSSI: map[string]int8{"*": -40}, UnheardBy: []string{"garage"}},
		{ID: "jitter", Address: 4, RSSI: map[string]int8{"kitchen": -60}, RSSIJitter: 3},
	}
	inWorld(t, specs, func(w *world) {
		heard := map[string]map[ble.Address][2]int32{}
		for _, name := range []string{"kitchen", "garage"} {
			heard[name] = map[ble.Address][2]int32{}
			w.proxy(ProxyConfig{Name: name})
		}
		for name, p := range w.proxies {
			c := w.dial(p)
			c.subscribe()
			batches, _ := c.adverts(30 * time.Second)
			for _, b := range batches {
				for _, adv := range b {
					a, v := ble.Address(adv.GetAddress()), adv.GetRssi()
					r, ok := heard[name][a]
					if !ok {
						r = [2]int32{v, v}
					}
					heard[name][a] = [2]int32{min(r[0], v), max(r[1], v)}
				}
			}
			c.close()
		}
		want := map[string]map[ble.Address][2]int32{
			"kitchen": {1: {-50, -50}, 3: {-60, -60}, 4: {-63, -57}, 5: {-40, -40}},
			"garage":  {1: {-80, -80}, 2: {-70, -70}, 3: {-60, -60}},
		}
		if diff := cmp.Diff(want, heard); diff != "" {
			t.Error(diff)
		}
	})
}

func TestScanModeDecidesOnScanResponses(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{}))
		c.send(&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1})
		states := func() string {
			m := expect[*apipb.BluetoothScannerStateResponse](c)
			return fmt.Sprintf("%d/%d/%d", m.GetState(), m.GetMode(), m.GetConfiguredMode())
		}
		if got := states(); got != "2/1/1" {
			t.Errorf("at subscription: %s", got)
		}
		c.send(&apipb.BluetoothScannerSetModeRequest{Mode: 0})
		for _, want := range []string{"4/0/1", "0/0/1", "1/0/1", "2/0/1"} {
			if got := states(); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		batches, _ := c.adverts(time.Second)
		if got := payloads(batches, goldenMain); len(got) != 1 || got[goldenAdv] == 0 {
			t.Errorf("passive: %v", got)
		}
		c.send(&apipb.BluetoothScannerSetModeRequest{Mode: 0}) // no change: nothing happens
		c.send(&apipb.BluetoothScannerSetModeRequest{Mode: 1})
		for _, want := range []string{"4/1/1", "0/1/1", "1/1/1", "2/1/1"} {
			if got := states(); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		c.close()
	})
}

func TestScanIsRestartedEveryFiveMinutes(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		p := w.proxy(ProxyConfig{})
		c := w.dial(p)
		c.subscribe()
		start := time.Now()
		var states []int32
		for range 3 {
			r, at := expectScanner(c, 6*time.Minute)
			states = append(states, int32(r.GetState()))
			if d := at.Sub(start); d < 4*time.Minute || d > 6*time.Minute {
				t.Errorf("state %v after %v", r, d)
			}
			c.send(&apipb.PingRequest{})
		}
		if diff := cmp.Diff([]int32{0, 1, 2}, states); diff != "" {
			t.Error(diff)
		}
		c.close()
	})
}

func TestDecodedAdverts(t *testing.T) {
	tests := []struct {
		version string
		flags   uint32
		raw     bool
	}{
		{"2024.10.0", 0, false}, {"2024.10.0", 1, true}, {"2022.12.0", 1, false}, {"2026.10.0", 0, true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.version, tt.flags), func(t *testing.T) {
			inWorld(t, goldenSpecs(t), func(w *world) {
				c := w.dial(w.proxy(ProxyConfig{Version: tt.version}))
				c.send(&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: tt.flags})
				if tt.raw {
					expect[*apipb.BluetoothLERawAdvertisementsResponse](c)
				} else {
					m := expect[*apipb.BluetoothLEAdvertisementResponse](c)
					for ble.Address(m.GetAddress()) != goldenMain {
						m = expect[*apipb.BluetoothLEAdvertisementResponse](c)
					}
					got := fmt.Sprintf("%s %v %s:%x %s:%x", m.GetName(), m.GetServiceUuids(),
						m.GetServiceData()[0].GetUuid(), m.GetServiceData()[0].GetData(),
						m.GetManufacturerData()[0].GetUuid(), m.GetManufacturerData()[0].GetData())
					want := "GoldenTest1 [0x180F 0xFFF0 A5A50100-1000-4000-8000-00805F9B0001] 0x180F:5701 0xFFFF:deadbeef"
					if got != want {
						t.Errorf("got %s\nwant %s", got, want)
					}
				}
				c.close()
			})
		})
	}
}

func TestSubscriberModel(t *testing.T) {
	for _, tt := range []struct {
		version   string
		firstWins bool
	}{{"2026.6.5", true}, {"2026.7.0", false}, {"2026.10.0", false}} {
		t.Run(tt.version, func(t *testing.T) {
			inWorld(t, goldenSpecs(t), func(w *world) {
				p := w.proxy(ProxyConfig{Version: tt.version})
				a, b := w.dial(p), w.dial(p)
				a.subscribe()
				b.send(&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1})
				winner, loser := b, a
				if tt.firstWins {
					winner, loser = a, b
				}
				w.settle()
				drain(a)
				drain(b)
				if n, _ := loser.adverts(5 * time.Second); len(n) != 0 {
					t.Errorf("the loser got %d batches", len(n))
				}
				if n, _ := winner.adverts(time.Second); len(n) == 0 {
					t.Error("the winner got nothing")
				}
				// Whoever asks for a link, the subscriber hears of it.
				loser.send(request(goldenMain, rtConnect))
				expect[*apipb.BluetoothConnectionsFreeResponse](winner)
				if m := expect[*apipb.BluetoothDeviceConnectionResponse](winner); !m.GetConnected() {
					t.Error("no link")
				}
				expect[*apipb.BluetoothConnectionsFreeResponse](winner)
				loser.quiet(time.Second)
				// The subscription again is harmless and answered.
				winner.subscribe()
				a.close()
				b.close()
			})
		})
	}
}

func TestLinksEndWithTheSubscriber(t *testing.T) {
	for _, how := range []string{"gone", "unsubscribed"} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, goldenSpecs(t), func(w *world) {
				p := w.proxy(ProxyConfig{})
				c := w.dial(p)
				c.subscribe()
				c.link(goldenMain)
				if how == "gone" {
					c.close()
				} else {
					c.send(&apipb.UnsubscribeBluetoothLEAdvertisementsRequest{})
				}
				<-time.After(200 * time.Millisecond)
				if s := p.Slots(); s.Free != s.Limit {
					t.Errorf("slots %+v", s)
				}
				if st, _ := w.air.Status("main"); st.Connections != 0 || !st.Advertising {
					t.Errorf("peripheral %+v", st)
				}
				c.close()
			})
		})
	}
}

func TestTakeoverKeepsLinks(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		p := w.proxy(ProxyConfig{})
		a := w.dial(p)
		a.subscribe()
		a.link(goldenMain)
		b := w.dial(p)
		b.subscribe()
		<-time.After(time.Second)
		a.close()
		<-time.After(time.Second)
		if got := b.read(goldenMain, 26); got != "68656c6c6f" {
			t.Errorf("read: %s", got)
		}
		b.close()
	})
}

// settle lets everything that is under way now arrive.
func (w *world) settle() { <-time.After(time.Millisecond) }

func drain(c *peer) {
	for {
		select {
		case <-c.msgs:
		default:
			return
		}
	}
}

func expectScanner(c *peer, within time.Duration) (*apipb.BluetoothScannerStateResponse, time.Time) {
	c.t.Helper()
	for {
		m, err := c.receive(within, func(proto.Message) bool { return true })
		if err != nil {
			c.t.Fatal(err)
		}
		switch s := m.m.(type) {
		case *apipb.BluetoothScannerStateResponse:
			return s, m.at
		case *apipb.PingRequest:
			c.send(&apipb.PingResponse{})
		}
	}
}
