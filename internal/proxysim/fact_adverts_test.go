package proxysim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// beacons are n devices that advertise every 100 to 110 ms.
func beacons(n int) []DeviceSpec {
	var out []DeviceSpec
	for i := range n {
		out = append(out, DeviceSpec{ID: fmt.Sprint("beacon", i), Address: 0x020000000000 + ble.Address(i), Advert: AdvertSpec{IntervalMS: 100}})
	}
	return out
}

func TestFact05TicksOfPartialBatches(t *testing.T) {
	for _, tt := range []struct {
		cfg  ProxyConfig
		want time.Duration
	}{
		{ProxyConfig{Version: "2026.6.5"}, 100 * time.Millisecond}, // M
		{ProxyConfig{Version: "2026.7.4"}, 100 * time.Millisecond},
		{ProxyConfig{Version: "2026.8.2"}, 200 * time.Millisecond},
		{ProxyConfig{Version: "2026.10.0"}, 200 * time.Millisecond}, // M
		{ProxyConfig{Version: "2026.10.0", Ethernet: true}, 100 * time.Millisecond},
	} {
		t.Run(fmt.Sprint(tt.cfg.Version, tt.cfg.Ethernet), func(t *testing.T) {
			inWorld(t, beacons(3), func(w *world) { // about 28 adverts in a second: no batch is full
				c := w.dial(w.proxy(tt.cfg))
				c.subscribe()
				_, at := c.adverts(20 * time.Second)
				var gaps []time.Duration
				for i := 1; i < len(at); i++ {
					gaps = append(gaps, at[i].Sub(at[i-1]))
				}
				slices.Sort(gaps)
				if len(gaps) == 0 || gaps[len(gaps)/2] != tt.want || gaps[0] < tt.want/2 {
					t.Errorf("batches %v apart", gaps)
				}
				c.close()
			})
		})
	}
	t.Run("first after silence at the next tick", func(t *testing.T) {
		inWorld(t, []DeviceSpec{{ID: "rare", Address: 5, Advert: AdvertSpec{IntervalMS: 3000}}}, func(w *world) {
			c := w.dial(w.proxy(ProxyConfig{}))
			c.subscribe()
			for range 10 {
				_ = w.air.SetAdvertisement("rare", []byte{2, 1, 6}, nil) // heard now
				start := time.Now()
				if _, at := expectAt[*apipb.BluetoothLERawAdvertisementsResponse](c); at.Sub(start) > flushEvery {
					t.Errorf("after %v", at.Sub(start))
				}
				<-time.After(731 * time.Millisecond)
				drain(c)
			}
			c.close()
		})
	})
}

func TestFact05ScanWindowOfALinkedProxy(t *testing.T) {
	for version, narrow := range map[string]bool{"2026.10.0": true, "2026.8.2": true, "2026.7.4": false, "2026.6.5": false} {
		t.Run(version, func(t *testing.T) {
			specs := append(goldenSpecs(t), beacons(20)...)
			second := specs[0]
			second.ID, second.Address = "second", 0x00AA01010002
			inWorld(t, append(specs, second), func(w *world) {
				c := w.dial(w.proxy(ProxyConfig{Version: version}))
				c.subscribe()
				heard := func() int {
					n := 0
					batches, _ := c.adverts(10 * time.Second)
					for _, b := range batches {
						for _, a := range b {
							if a.GetAddress()>>40 == 2 {
								n++
							}
						}
					}
					return n
				}
				before := heard()
				c.link(goldenMain)
				c.link(second.Address)
				with := heard()
				if ratio := float64(with) / float64(before); narrow && (ratio < 0.05 || ratio > 0.15) || !narrow && ratio < 0.9 {
					t.Errorf("%d adverts before, %d with a link", before, with)
				}
				// The scanner restarts when the last link ends, not before.
				c.send(request(goldenMain, rtDisconnect))
				check(t, "first link", c.lines(time.Second), []string{mainDown + "0x16", "81 free 2 of 3 1"})
				_ = w.air.Disconnect("second", ReasonRemote)
				var states []string
				for _, l := range c.lines(time.Second) {
					if l[:3] == "126" {
						states = append(states, l)
					}
				}
				var want []string
				if narrow {
					want = []string{"126 4", "126 0", "126 1", "126 2"}
				}
				check(t, "last link", states, want)
				if after := heard(); float64(after) < 0.9*float64(before) {
					t.Errorf("%d adverts before, %d afterwards", before, after)
				}
				c.close()
			})
		})
	}
}

func TestFact13RadioThatCannotScanActively(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{Stack: Stack{PassiveRadio: true}}))
		c.send(&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1})
		for range 2 {
			if m := expect[*apipb.BluetoothScannerStateResponse](c); m.GetMode() != 0 || m.GetState() != 2 {
				t.Errorf("got %v", m)
			}
			c.send(&apipb.BluetoothScannerSetModeRequest{Mode: 1}) // answered: still passive
		}
		batches, _ := c.adverts(time.Second)
		if got := payloads(batches, goldenMain); len(got) != 1 || got[goldenAdv] == 0 {
			t.Errorf("adverts: %v", got)
		}
		c.close()
	})
}

func TestFact05AdvertisementFilter(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{Filter: func(a ble.RawAdvert) bool { return a.Address != goldenMain }}))
		c.subscribe()
		batches, _ := c.adverts(5 * time.Second)
		if len(batches) == 0 || len(payloads(batches, goldenMain)) != 0 || len(payloads(batches, goldenBeacon)) == 0 {
			t.Errorf("%d batches, golden main came as %v", len(batches), payloads(batches, goldenMain))
		}
		c.close()
	})
}
