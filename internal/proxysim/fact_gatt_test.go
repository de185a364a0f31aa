package proxysim

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

func TestFact09WithoutALink(t *testing.T) {
	const stranger = uint64(0x020000000001)
	// 2026.6.5 and 2026.10.0: M
	for _, version := range []string{"2024.10.0", "2026.6.5", "2026.7.4", "2026.8.2", "2026.10.0"} {
		t.Run(version, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				p := w.proxy(ProxyConfig{Version: version})
				c := w.dial(p)
				c.send(&apipb.SubscribeBluetoothLEAdvertisementsRequest{Flags: 1})
				for _, m := range []proto.Message{
					&apipb.BluetoothGATTGetServicesRequest{Address: stranger},
					&apipb.BluetoothGATTReadRequest{Address: stranger, Handle: 3}, &apipb.BluetoothGATTReadDescriptorRequest{Address: stranger, Handle: 3},
					&apipb.BluetoothGATTWriteRequest{Address: stranger, Handle: 3}, &apipb.BluetoothGATTWriteDescriptorRequest{Address: stranger, Handle: 3},
					&apipb.BluetoothGATTNotifyRequest{Address: stranger, Handle: 3, Enable: true},
				} {
					c.send(m)
					if e := expect[*apipb.BluetoothGATTErrorResponse](c); e.GetError() != -1 || e.GetAddress() != stranger {
						t.Errorf("%T: %v", m, e)
					}
				}
				c.send(&apipb.BluetoothSetConnectionParamsRequest{Address: stranger, MinInterval: 6, MaxInterval: 6, Timeout: 100})
				if e := expect[*apipb.BluetoothSetConnectionParamsResponse](c); e.GetError() != -1 { // up to 2026.7 only read
					t.Errorf("connection parameters: %v", e)
				}
				c.send(request(ble.Address(stranger), rtPair))
				if p.fw >= 202608 {
					if e := expect[*apipb.BluetoothDevicePairingResponse](c); e.GetPaired() || e.GetError() != -1 {
						t.Errorf("PAIR: %v", e)
					}
				} else {
					c.quiet(time.Minute)
				}
				c.send(request(ble.Address(stranger), rtUnpair))
				if p.fw >= 202608 {
					if e := expect[*apipb.BluetoothDeviceUnpairingResponse](c); !e.GetSuccess() {
						t.Errorf("UNPAIR: %v", e)
					}
				} else if e := expect[*apipb.BluetoothDevicePairingResponse](c); !e.GetPaired() {
					t.Errorf("UNPAIR: %v", e)
				}
				c.close()
			})
		})
	}
}

func TestFact09WithALink(t *testing.T) {
	for _, version := range []string{"2026.6.5", "2026.10.0"} { // both M
		t.Run(version, func(t *testing.T) {
			linked(t, ProxyConfig{Version: version}, func(_ *world, c *peer) {
				if got := c.write(goldenMain, 9999, []byte{1}, false); got != "written" {
					t.Errorf("command to a handle that does not exist: %s", got)
				}
				if got := c.write(goldenMain, 9999, []byte{1}, true); got != "error 1" {
					t.Errorf("request to a handle that does not exist: %s", got)
				}
				for h := uint32(1); h <= 13; h++ {
					c.send(&apipb.BluetoothGATTNotifyRequest{Address: uint64(goldenMain), Handle: 100 + h, Enable: true})
					if h <= 12 {
						expect[*apipb.BluetoothGATTNotifyResponse](c)
					} else if e := expect[*apipb.BluetoothGATTErrorResponse](c); e.GetError() != 0x80 {
						t.Errorf("registration %d: %v", h, e)
					}
				}
				params := func(lo, hi, latency, timeout uint32) int32 {
					c.send(&apipb.BluetoothSetConnectionParamsRequest{
						Address: uint64(goldenMain), MinInterval: lo, MaxInterval: hi, Latency: latency, Timeout: timeout,
					})
					return expect[*apipb.BluetoothSetConnectionParamsResponse](c).GetError()
				}
				for _, bad := range [][4]uint32{
					{5, 6, 0, 100}, {12, 6, 0, 100}, {6, 3201, 0, 3200}, {6, 6, 500, 3200}, {6, 6, 0, 9}, {6, 6, 0, 3201},
					{400, 400, 9, 1000}, {70000, 70000, 0, 100}, {},
				} {
					if got := params(bad[0], bad[1], bad[2], bad[3]); got != 0x102 {
						t.Errorf("parameters %v: error %#x", bad, got)
					}
				}
				for _, good := range [][4]uint32{{6, 6, 0, 10}, {6, 3200, 0, 3200}, {400, 400, 9, 1001}} {
					if got := params(good[0], good[1], good[2], good[3]); got != 0 {
						t.Errorf("parameters %v: error %#x", good, got)
					}
				}
				ask := &apipb.BluetoothGATTGetServicesRequest{Address: uint64(goldenMain)}
				c.send(ask)
				for {
					r, err := c.receive(time.Second, func(m proto.Message) bool { return !isNoise(m) })
					if err != nil {
						t.Fatal(err)
					}
					if _, done := r.m.(*apipb.BluetoothGATTGetServicesDoneResponse); done {
						break
					}
				}
				c.send(ask)
				c.quiet(time.Minute)
			})
		})
	}
	t.Run("cached", func(t *testing.T) {
		inWorld(t, goldenSpecs(t), func(w *world) {
			c := w.dial(w.proxy(ProxyConfig{}))
			c.subscribe()
			c.send(request(goldenMain, rtCached))
			c.lines(time.Second)
			start := time.Now()
			c.send(&apipb.BluetoothGATTGetServicesRequest{Address: uint64(goldenMain)})
			if _, at := expectAt[*apipb.BluetoothGATTGetServicesDoneResponse](c); at.Sub(start) > time.Millisecond {
				t.Errorf("72 after %v", at.Sub(start))
			}
			c.close()
		})
	})
}

// characteristics makes a service of n characteristics, 128-bit UUIDs if long.
func characteristics(n int, long bool) ServiceSpec {
	s := ServiceSpec{UUID: ble.UUID16(0x1800)}
	for i := range n {
		u := ble.UUID16(uint16(0x2a00 + i))
		if long {
			u = ble.UUIDFromHalves(0xa5a5010010004000|uint64(i), 0x800000805f9b0001)
		}
		s.Characteristics = append(s.Characteristics, CharSpec{UUID: u, Properties: []string{"read"}})
	}
	return s
}

func TestFact10ServiceMessages(t *testing.T) {
	for _, tt := range []struct {
		name     string
		version  string
		minor    uint32 // of the client
		services []ServiceSpec
		want     []int // services in each message
	}{
		{"many small ones", "2026.10.0", 19, []ServiceSpec{characteristics(1, false), characteristics(1, false), characteristics(1, false)}, []int{3}},
		// 150 bytes, and then an estimate of 10 + 60 × 22.
		{"a large estimate", "2026.10.0", 19, []ServiceSpec{characteristics(10, false), characteristics(22, false)}, []int{1, 1}},
		{"an estimate that just fits", "2026.10.0", 19, []ServiceSpec{characteristics(1, false), characteristics(22, false)}, []int{2}},
		{"a larger service goes alone", "2026.10.0", 19, []ServiceSpec{characteristics(1, false), characteristics(60, true), characteristics(1, false)}, []int{1, 1, 1}},
		{"long UUIDs, larger estimate", "2026.10.0", 11, []ServiceSpec{characteristics(0, false), characteristics(22, false)}, []int{1, 1}},
		{"one each before 2025.8", "2025.7.0", 19, []ServiceSpec{characteristics(1, false), characteristics(1, false)}, []int{1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := DeviceSpec{ID: "x", Address: 7, Connectable: true, Advert: AdvertSpec{IntervalMS: 100}, GATT: GATTSpec{Services: tt.services}}
			inWorld(t, []DeviceSpec{spec}, func(w *world) {
				<-time.After(time.Second)
				p := w.proxy(ProxyConfig{Version: tt.version})
				c := w.connect(p)
				c.send(&apipb.HelloRequest{ApiVersionMajor: 1, ApiVersionMinor: tt.minor}, &apipb.AuthenticationRequest{})
				c.lines(time.Second)
				c.subscribe()
				c.link(7)
				c.send(&apipb.BluetoothGATTGetServicesRequest{Address: 7})
				var got []int
				var last time.Time
				for {
					r, err := c.receive(time.Second, func(m proto.Message) bool { return !isNoise(m) })
					if err != nil {
						t.Fatal(err)
					}
					if d := r.at.Sub(last); !last.IsZero() && d != 16*time.Millisecond {
						t.Errorf("message %d came after %v", len(got), d)
					}
					last = r.at
					m, ok := r.m.(*apipb.BluetoothGATTGetServicesResponse)
					if !ok {
						break
					}
					got = append(got, len(m.GetServices()))
				}
				if len(got) != len(tt.want) {
					t.Errorf("services by message: %v, want %v", got, tt.want)
				} else {
					for i := range got {
						if got[i] != tt.want[i] {
							t.Errorf("services by message: %v, want %v", got, tt.want)
						}
					}
				}
				c.close()
			})
		})
	}
}
