package proxysim

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// linked runs fn with a link to the golden peripheral.
func linked(t *testing.T, cfg ProxyConfig, fn func(*world, *peer)) {
	t.Helper()
	inWorld(t, goldenSpecs(t), func(w *world) {
		c := w.dial(w.proxy(cfg))
		c.subscribe()
		c.link(goldenMain)
		w.settle()
		drain(c)
		fn(w, c)
		c.close()
	})
}

func TestReadsAndWrites(t *testing.T) {
	long := make([]byte, 513)
	tests := []struct {
		name string
		do   func(*peer) string
		want string
	}{
		{"read", func(c *peer) string { return c.read(goldenMain, 26) }, "68656c6c6f"},
		{"read write-only", func(c *peer) string { return c.read(goldenMain, 29) }, "error 2"},
		{"read notify-only", func(c *peer) string { return c.read(goldenMain, 37) }, "error 2"},
		{"read without properties", func(c *peer) string { return c.read(goldenMain, 57) }, "error 2"},
		{"read no such handle", func(c *peer) string { return c.read(goldenMain, 999) }, "error 1"},
		{"read error", func(c *peer) string { return c.read(goldenMain, 66) }, "error 128"},
		{"read encryption", func(c *peer) string { return c.read(goldenMain, 60) }, "error 15"},
		{"read authentication", func(c *peer) string { return c.read(goldenMain, 62) }, "error 5"},
		{"read authorization", func(c *peer) string { return c.read(goldenMain, 64) }, "error 8"},
		{"read slow", func(c *peer) string { return c.read(goldenMain, 72) }, "736c6f77"},
		{"read descriptor error", func(c *peer) string { return c.read(goldenMain, 51) }, "error 129"},
		{"read cccd", func(c *peer) string { return c.read(goldenMain, 38) }, "0000"},
		{"read elsewhere", func(c *peer) string { return c.read(goldenBeacon, 26) }, "error -1"},
		{"write", func(c *peer) string { return c.write(goldenMain, 29, []byte{1}, true) }, "written"},
		{"write empty", func(c *peer) string { return c.write(goldenMain, 29, nil, true) }, "written"},
		{"write 512", func(c *peer) string { return c.write(goldenMain, 43, long[:512], true) }, "written"},
		{"write 513", func(c *peer) string { return c.write(goldenMain, 43, long, true) }, "error 13"},
		{"write read-only", func(c *peer) string { return c.write(goldenMain, 26, []byte{1}, true) }, "error 3"},
		{"write request on command-only", func(c *peer) string { return c.write(goldenMain, 31, []byte{1}, true) }, "error 3"},
		{"write error", func(c *peer) string { return c.write(goldenMain, 66, []byte{1}, true) }, "error 131"},
		{"write encryption", func(c *peer) string { return c.write(goldenMain, 60, []byte{1}, true) }, "error 15"},
		{"write authorization", func(c *peer) string { return c.write(goldenMain, 64, []byte{1}, true) }, "error 8"},
		{"write elsewhere", func(c *peer) string { return c.write(goldenBeacon, 29, []byte{1}, true) }, "error -1"},
		{"command is acknowledged", func(c *peer) string { return c.write(goldenMain, 31, []byte{1}, false) }, "written"},
		{"command refused is acknowledged", func(c *peer) string { return c.write(goldenMain, 26, []byte{1}, false) }, "written"},
		{"write descriptor", func(c *peer) string { return c.writeDescriptor(goldenMain, 50, []byte{9}) }, "written"},
		{"write descriptor read-only", func(c *peer) string { return c.writeDescriptor(goldenMain, 27, []byte{9}) }, "error 3"},
		{"write descriptor error", func(c *peer) string { return c.writeDescriptor(goldenMain, 51, []byte{9}) }, "error 130"},
		{"write cccd", func(c *peer) string { return c.writeDescriptor(goldenMain, 38, []byte{1, 0}) }, "written"},
		{"write short cccd", func(c *peer) string { return c.writeDescriptor(goldenMain, 38, []byte{1}) }, "error 13"},
		{"write encrypted cccd", func(c *peer) string { return c.writeDescriptor(goldenMain, 75, []byte{1, 0}) }, "error 15"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			linked(t, ProxyConfig{}, func(_ *world, c *peer) {
				if got := tt.do(c); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}

func TestWritesAreRemembered(t *testing.T) {
	linked(t, ProxyConfig{}, func(w *world, c *peer) {
		c.write(goldenMain, 33, []byte{1}, true)
		c.write(goldenMain, 26, []byte{2}, true)  // refused
		c.write(goldenMain, 26, []byte{3}, false) // ignored
		c.write(goldenMain, 33, bytes.Repeat([]byte{4}, 300), false)
		c.writeDescriptor(goldenMain, 38, []byte{1, 0})
		c.writeDescriptor(goldenMain, 41, []byte{2, 0})
		st, err := w.air.Status("main")
		// A command is cut to what fits one packet of the MTU.
		want := fmt.Sprint([]Write{{33, HexBytes{1}}, {33, bytes.Repeat([]byte{4}, 244)}}, []uint16{37, 40})
		if got := fmt.Sprint(st.Writes, st.Subscriptions); err != nil || got != want {
			t.Errorf("got %s, %v\nwant %s", got, err, want)
		}
		if got := c.read(goldenMain, 33); got != strings.Repeat("04", 244) {
			t.Errorf("read back %s", got)
		}
		if err := w.air.Reset("main"); err != nil {
			t.Error(err)
		}
		if got := c.read(goldenMain, 33); got != "00" {
			t.Errorf("after reset %s", got)
		}
		if st, _ := w.air.Status("main"); len(st.Writes) != 0 || st.Connections != 1 {
			t.Errorf("after reset %+v", st)
		}
	})
}

func TestNotifications(t *testing.T) {
	linked(t, ProxyConfig{}, func(w *world, c *peer) {
		notify := func(handle uint16, value byte, indicate bool) {
			if err := w.air.Notify("main", handle, []byte{value}, indicate); err != nil {
				t.Error(err)
			}
		}
		register := func(handle uint32, on bool) {
			t.Helper()
			c.send(&apipb.BluetoothGATTNotifyRequest{Address: uint64(goldenMain), Handle: handle, Enable: on})
			expect[*apipb.BluetoothGATTNotifyResponse](c)
		}
		notify(37, 1, false) // neither
		register(37, true)
		notify(37, 2, false) // no CCCD
		c.quiet(time.Second)
		c.writeDescriptor(goldenMain, 38, []byte{1, 0})
		notify(37, 3, true) // an indication was not asked for
		notify(37, 4, false)
		if m := expect[*apipb.BluetoothGATTNotifyDataResponse](c); m.GetHandle() != 37 || m.GetData()[0] != 4 {
			t.Errorf("got %v", m)
		}
		register(37, false)
		notify(37, 5, false) // the peripheral sends, the proxy does not care
		c.quiet(time.Second)
		register(40, true)
		c.writeDescriptor(goldenMain, 41, []byte{2, 0})
		notify(40, 6, true)
		if m := expect[*apipb.BluetoothGATTNotifyDataResponse](c); m.GetHandle() != 40 || m.GetData()[0] != 6 {
			t.Errorf("got %v", m)
		}
		long := bytes.Repeat([]byte{7}, 400)
		_ = w.air.Notify("main", 40, long, true)
		if m := expect[*apipb.BluetoothGATTNotifyDataResponse](c); len(m.GetData()) != 244 {
			t.Errorf("%d bytes of a long value", len(m.GetData()))
		}
		for h := uint32(100); h < 111; h++ {
			register(h, true)
		}
		c.send(&apipb.BluetoothGATTNotifyRequest{Address: uint64(goldenMain), Handle: 200, Enable: true})
		if m := expect[*apipb.BluetoothGATTErrorResponse](c); m.GetError() != 0x80 {
			t.Errorf("13th registration: %v", m)
		}
		// A new link has an empty configuration.
		c.send(request(goldenMain, rtDisconnect))
		expect[*apipb.BluetoothDeviceConnectionResponse](c)
		expect[*apipb.BluetoothConnectionsFreeResponse](c)
		c.link(goldenMain)
		if got := c.read(goldenMain, 41); got != "0000" {
			t.Errorf("CCCD on a new link: %s", got)
		}
	})
}

func TestTimedNotifications(t *testing.T) {
	specs := []DeviceSpec{{
		ID: "x", Address: 1, Connectable: true, Advert: AdvertSpec{IntervalMS: 100},
		GATT: GATTSpec{Services: []ServiceSpec{{UUID: ble.UUID16(0x180d), Characteristics: []CharSpec{
			{UUID: ble.UUID16(0x2a37), Properties: []string{"read", "notify"}, Value: HexBytes{0, 255}, NotifyEveryMS: 1000,
				Descriptors: []DescSpec{{UUID: ble.UUIDCCCD}}},
			{UUID: ble.UUID16(0x2a38), Properties: []string{"read", "indicate"}, NotifyEveryMS: 500,
				NotifyValues: []HexBytes{{1}, {2}}, Descriptors: []DescSpec{{UUID: ble.UUIDCCCD}}},
		}}}},
	}}
	inWorld(t, specs, func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{}))
		c.subscribe()
		c.link(1)
		for _, h := range []uint32{3, 6} { // handles are given out in order
			c.send(&apipb.BluetoothGATTNotifyRequest{Address: 1, Handle: h, Enable: true})
			expect[*apipb.BluetoothGATTNotifyResponse](c)
		}
		c.writeDescriptor(1, 4, []byte{1, 0})
		c.writeDescriptor(1, 7, []byte{2, 0})
		got := map[uint32][]string{}
		_, _ = c.receive(3050*time.Millisecond, func(m proto.Message) bool {
			if n, ok := m.(*apipb.BluetoothGATTNotifyDataResponse); ok {
				got[n.GetHandle()] = append(got[n.GetHandle()], fmt.Sprintf("%x", n.GetData()))
			}
			return false
		})
		if want := "map[3:[0000 0001 0002] 6:[01 02 01 02 01 02]]"; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
		c.close()
	})
}

func TestSlowReadDoesNotHoldUpOtherLinks(t *testing.T) {
	specs := goldenSpecs(t)
	second := specs[0]
	second.ID, second.Address = "second", 0x00AA01010002
	inWorld(t, append(specs, second), func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{}))
		c.subscribe()
		c.link(goldenMain)
		c.link(second.Address)
		start := time.Now()
		c.send(&apipb.BluetoothGATTReadRequest{Address: uint64(goldenMain), Handle: 72},
			&apipb.BluetoothGATTReadRequest{Address: uint64(goldenMain), Handle: 26},
			&apipb.BluetoothGATTReadRequest{Address: uint64(second.Address), Handle: 26})
		for _, want := range []struct {
			a       ble.Address
			h       uint32
			atLeast time.Duration
			atMost  time.Duration
		}{
			{second.Address, 26, 0, 100 * time.Millisecond},
			{goldenMain, 72, 3 * time.Second, 3100 * time.Millisecond},
			{goldenMain, 26, 3 * time.Second, 3200 * time.Millisecond}, // behind it
		} {
			m, at := expectAt[*apipb.BluetoothGATTReadResponse](c)
			if d := at.Sub(start); m.GetAddress() != uint64(want.a) || m.GetHandle() != want.h || d < want.atLeast || d > want.atMost {
				t.Errorf("got %v after %v, want %+v", m, d, want)
			}
		}
		c.close()
	})
}

func TestPendingReadEndsWithTheLink(t *testing.T) {
	linked(t, ProxyConfig{}, func(w *world, c *peer) {
		c.send(&apipb.BluetoothGATTReadRequest{Address: uint64(goldenMain), Handle: 72})
		<-time.After(time.Second)
		_ = w.air.Disconnect("main", ReasonTimeout)
		check(t, "answers", quietScan(c.lines(10*time.Second)), []string{mainDown + "0x8", "81 free 3 of 3 0"})
	})
}

func TestServices(t *testing.T) {
	ask := &apipb.BluetoothGATTGetServicesRequest{Address: uint64(goldenMain)}
	tests := []struct {
		version  string
		messages int
		short    bool
	}{{"2026.10.0", 2, true}, {"2025.7.0", 9, false}}
	for _, tt := range tests {
		t.Run(tt.version, func(t *testing.T) {
			linked(t, ProxyConfig{Version: tt.version}, func(_ *world, c *peer) {
				c.send(ask)
				var services []*apipb.BluetoothGATTService
				n := 0
				for ; ; n++ {
					r, err := c.receive(patience, func(m proto.Message) bool { return !isNoise(m) })
					if err != nil {
						t.Fatal(err)
					}
					if _, done := r.m.(*apipb.BluetoothGATTGetServicesDoneResponse); done {
						break
					}
					m, ok := r.m.(*apipb.BluetoothGATTGetServicesResponse)
					if !ok {
						t.Fatalf("got %T", r.m)
					}
					if size := proto.Size(m); size > 1400 && len(m.GetServices()) > 1 {
						t.Errorf("message of %d bytes", size)
					}
					services = append(services, m.GetServices()...)
				}
				if n != tt.messages || len(services) != 9 {
					t.Errorf("%d messages with %d services", n, len(services))
				}
				first := services[0].GetCharacteristics()[0]
				if first.GetHandle() != 3 || (first.GetShortUuid() == 0x2a00) != tt.short || (len(first.GetUuid()) == 0) != tt.short {
					t.Errorf("first characteristic: %v", first)
				}
				c.send(ask) // the table is freed
				c.quiet(time.Minute)
			})
		})
	}
}

func TestServicesAreAskedForAgainWhileTheyStream(t *testing.T) {
	linked(t, ProxyConfig{}, func(_ *world, c *peer) {
		ask := &apipb.BluetoothGATTGetServicesRequest{Address: uint64(goldenMain)}
		c.send(ask)
		expect[*apipb.BluetoothGATTGetServicesResponse](c)
		c.send(ask)
		if m := expect[*apipb.BluetoothGATTGetServicesResponse](c); m.GetServices()[0].GetHandle() != 1 {
			t.Errorf("got %v", m.GetServices()[0])
		}
	})
}

func TestServicesWithoutADatabase(t *testing.T) {
	inWorld(t, goldenSpecs(t), func(w *world) {
		c := w.dial(w.proxy(ProxyConfig{}))
		c.subscribe()
		ask := &apipb.BluetoothGATTGetServicesRequest{Address: uint64(goldenMain)}
		c.send(ask)
		if m := expect[*apipb.BluetoothGATTErrorResponse](c); m.GetHandle() != 0 || m.GetError() != -1 {
			t.Errorf("without a link: %v", m)
		}
		c.send(request(goldenMain, rtCached))
		<-time.After(time.Second)
		drain(c)
		for range 2 {
			c.send(ask)
			expect[*apipb.BluetoothGATTGetServicesDoneResponse](c)
		}
		c.close()
	})
}

func TestConnectionParams(t *testing.T) {
	linked(t, ProxyConfig{}, func(_ *world, c *peer) {
		for a, want := range map[ble.Address]int32{goldenMain: 0, goldenBeacon: -1} {
			c.send(&apipb.BluetoothSetConnectionParamsRequest{Address: uint64(a), MinInterval: 6, MaxInterval: 12, Timeout: 500})
			if m := expect[*apipb.BluetoothSetConnectionParamsResponse](c); m.GetError() != want {
				t.Errorf("%s: %v", a, m)
			}
		}
	})
}
