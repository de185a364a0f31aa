package firmware

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/proxysim"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// A quirk is a proxy that says something unusual, and what is to come of it.
type quirk struct {
	name    string
	version string // "" for the newest
	proxy   proxysim.ProxyConfig
	device  func(d *proxysim.DeviceSpec)
	down    func(r *relay, f frame) []frame
	up      func(m proto.Message)
	// play is what is done; nil is usual.
	play func(t *testing.T, q *scene)
}

// scene is a quirk at work.
type scene struct {
	*client
	w      *world
	proxy  *proxysim.Proxy
	relay  *relay
	device proxysim.DeviceSpec
	path   dbus.ObjectPath // of the device
	status dbus.ObjectPath // of the proxy
}

// usual connects, reads, writes both ways, is notified, parts and connects again.
func usual(t *testing.T, s *scene) {
	s.until(limit, s.path, deviceIface, "Name", "Sensor Übung")
	s.link(s.path)
	got := s.database(s.path)
	slices.Sort(got)
	if diff := cmp.Diff(wantDatabase, got); diff != "" {
		t.Errorf("the database is wrong (-want +got):\n%s", diff)
	}
	chr := s.char(s.path, echo)
	if v := s.read(chr); v != "hello" {
		t.Errorf("read %q", v)
	}
	s.write(chr, "with", "request")
	s.write(chr, "without", "command")
	if v := s.read(chr); v != "without" {
		t.Errorf("read %q after the writes", v)
	}
	s.write(chr, "hello", "request") // as it was
	s.hear(t)
	for range 2 {
		s.call(s.path, deviceIface+".Disconnect")
		s.link(s.path)
	}
	s.call(s.path, deviceIface+".Disconnect")
}

// hear is notified and ends that.
func (s *scene) hear(t *testing.T) {
	chr := s.char(s.path, counter)
	values := s.values(chr)
	s.subscribe(chr)
	if err := s.w.sim.Air().Notify(s.device.ID, counterHandle, []byte("news"), false); err != nil {
		t.Fatal(err)
	}
	s.notified(values, "news")
	s.call(chr, charIface+".StopNotify")
}

func (s *scene) online() { s.until(limit, s.status, proxyIface, "State", "online") }

func quirks() []quirk {
	var asked, types atomic.Int32
	return []quirk{
		{name: "no Bluetooth address", down: info(func(m *apipb.DeviceInfoResponse) { m.BluetoothMacAddress = "" }),
			play: func(t *testing.T, s *scene) {
				s.online()
				if v, _ := s.get(s.status, proxyIface, "BluetoothAddress").(string); !strings.HasPrefix(v, "24:0A:C4:") {
					t.Errorf("BluetoothAddress is %q, want that of the network", v)
				}
				usual(t, s)
			}},
		{name: "flags in the capabilities only", down: info(func(m *apipb.DeviceInfoResponse) { m.BluetoothMacAddress, m.BluetoothProxyFeatureFlags = "", 0 }),
			play: func(t *testing.T, s *scene) {
				usual(t, s)
				if v, _ := s.get(s.status, proxyIface, "Features").([]string); len(v) != 8 {
					t.Errorf("Features are %q", v)
				}
			}},
		{name: "API 2", down: edit(func(_ *relay, m *apipb.HelloResponse) []proto.Message {
			m.ApiVersionMajor, m.ApiVersionMinor = 2, 0
			return []proto.Message{m}
		})},
		{name: "names that are not UTF-8",
			device: func(d *proxysim.DeviceSpec) {
				d.Advert.LocalName = "Sensor \xff"
			},
			down: func(_ *relay, f frame) []frame {
				switch f.id {
				case apiwire.DeviceInfoResponse:
					// version, model, manufacturer, friendly name; the last counts
					for _, field := range []protowire.Number{4, 6, 12, 13} {
						f.payload = protowire.AppendBytes(protowire.AppendTag(f.payload, field, protowire.BytesType), []byte("K\xfcche\x00\x1b"))
					}
				case apiwire.HelloResponse:
					f.payload = protowire.AppendBytes(protowire.AppendTag(f.payload, 3, protowire.BytesType), []byte("\xff\xfe"))
				}
				return []frame{f}
			},
			play: func(t *testing.T, s *scene) {
				s.until(limit, s.path, deviceIface, "Name", "Sensor")
				s.online()
				s.link(s.path)
			}},
		{name: "messages and fields that nobody knows", down: func(r *relay, f frame) []frame {
			f.payload = protowire.AppendVarint(protowire.AppendTag(f.payload, 2047, protowire.VarintType), 7)
			if r.count()%3 > 0 {
				return []frame{f}
			}
			return []frame{
				f, {id: 29, payload: []byte{0x08, 3, 0x1a, 2, 'h', 'i'}}, {id: 35}, {id: 39, payload: []byte{0x0a, 0}}, {id: 200, payload: []byte{1, 2, 3}},
				{id: 65535}, {id: 0}, {id: 128}, {id: 130, payload: []byte("junk")}, {id: apiwire.BluetoothDeviceConnectionResponse, payload: []byte{0x0a, 0xff}},
				{id: apiwire.BluetoothLERawAdvertisementsResponse, payload: []byte{0x0a, 5, 1}}, {id: apiwire.BluetoothGATTNotifyDataResponse, payload: []byte{0x10, 99}},
			}
		}},
		{name: "deep sleep", down: info(func(m *apipb.DeviceInfoResponse) { m.HasDeepSleep = true })},
		{name: "wants the time", proxy: proxysim.ProxyConfig{AskTime: true},
			up: func(m proto.Message) {
				if m, ok := m.(*apipb.GetTimeResponse); ok && m.GetEpochSeconds() > 1.6e9 {
					asked.Add(1)
				}
			},
			play: func(t *testing.T, s *scene) {
				usual(t, s)
				if asked.Load() == 0 {
					t.Error("it was not told the time")
				}
			}},
		{name: "takes leave for an update", play: func(t *testing.T, s *scene) {
			s.until(limit, s.path, deviceIface, "Name", "Sensor Übung")
			s.link(s.path)
			s.relay.inject(&apipb.DisconnectRequest{})
			s.until(limit, s.path, deviceIface, "Connected", false)
			s.online()
			usual(t, s)
		}},
		{name: "reports slots before links", down: swap(), play: usual},
		{name: "answers late", down: func(_ *relay, f frame) []frame {
			switch f.id {
			case apiwire.BluetoothGATTReadResponse, apiwire.BluetoothGATTWriteResponse, apiwire.BluetoothGATTNotifyResponse:
				f.after = 1500 * time.Millisecond
			}
			return []frame{f}
		}},
		{name: "reports advertisement and scan response apart", proxy: proxysim.ProxyConfig{Stack: proxysim.Stack{SplitReports: true}}},
		{name: "unknown RSSI 0", device: func(d *proxysim.DeviceSpec) { d.RSSI["*"] = 0 }, play: noRSSI},
		{name: "unknown RSSI -127", device: func(d *proxysim.DeviceSpec) { d.RSSI["*"] = -127 }, play: noRSSI},
		{name: "identity of a resolved address", device: func(d *proxysim.DeviceSpec) { d.AddressType = "random-identity" },
			up: func(m proto.Message) {
				if m, ok := m.(*apipb.BluetoothDeviceRequest); ok && m.GetHasAddressType() {
					types.Store(int32(m.GetAddressType()))
				}
			},
			play: func(t *testing.T, s *scene) {
				usual(t, s)
				if v := s.get(s.path, deviceIface, "AddressType"); v != "random" {
					t.Errorf("AddressType is %v", v)
				}
				if v := types.Load(); v != 3 {
					t.Errorf("the request to connect had address type %d, the advertisement 3", v)
				}
			}},
		{name: "never says what it scans", version: "2026.6.0", down: drop(apiwire.BluetoothScannerStateResponse, func(int) bool { return true }),
			play: func(t *testing.T, s *scene) {
				usual(t, s)
				<-time.After(32 * time.Second) // the subscription would be asked for twice until then
				s.online()
				usual(t, s)
			}},
		{name: "never says its slots", down: drop(apiwire.BluetoothConnectionsFreeResponse, func(int) bool { return true })},
		{name: "loses the first answer to a subscription", version: "2026.6.0", down: drop(apiwire.BluetoothGATTNotifyResponse, func(n int) bool { return n == 1 })},
		{name: "loses answers to writes", version: "2026.6.0", down: drop(apiwire.BluetoothGATTWriteResponse, func(n int) bool { return n == 1 }),
			play: func(t *testing.T, s *scene) {
				s.until(limit, s.path, deviceIface, "Name", "Sensor Übung")
				s.link(s.path)
				chr := s.char(s.path, echo)
				s.refused(operationTime, "org.bluez.Error.Failed", chr, charIface+".WriteValue", []byte("lost"), map[string]dbus.Variant{"type": dbus.MakeVariant("request")})
				s.write(chr, "heard", "request")
				if v := s.read(chr); v != "heard" {
					t.Errorf("read %q", v)
				}
			}},
		{name: "errors of its stack", down: edit(func(r *relay, m *apipb.BluetoothGATTReadResponse) []proto.Message {
			codes := []int32{133, 143, 253, -2, 0x101, -1}
			n := r.count()
			if n > len(codes) {
				return []proto.Message{m}
			}
			return []proto.Message{&apipb.BluetoothGATTErrorResponse{Address: m.Address, Handle: m.Handle, Error: codes[n-1]}}
		}), play: func(t *testing.T, s *scene) {
			s.until(limit, s.path, deviceIface, "Name", "Sensor Übung")
			s.link(s.path)
			chr := s.char(s.path, echo)
			for _, want := range []string{"0x85", "0x8f", "0xfd", "Operation failed", "Operation failed", "0x0e"} {
				text := s.refused(operationTime, "org.bluez.Error.Failed", chr, charIface+".ReadValue", map[string]dbus.Variant{})
				if !strings.Contains(text, want) {
					t.Errorf("the error is %q, want %s", text, want)
				}
			}
			s.until(limit, s.path, deviceIface, "Connected", false) // the proxy knew no link
			usual(t, s)
		}},
		{name: "a radio that scans passively only", proxy: proxysim.ProxyConfig{Stack: proxysim.Stack{PassiveRadio: true}},
			play: func(t *testing.T, s *scene) {
				s.online()
				s.until(limit, s.path, deviceIface, "AddressType", "public") // its name is in the scan response
				s.until(limit, s.status, proxyIface, "ScanMode", "passive")
				s.link(s.path)
				s.hear(t)
			}},
		{name: "one slot", proxy: proxysim.ProxyConfig{Slots: 1, MaxClients: 4, Features: 0xef}},
		{name: "asleep most of the time", proxy: proxysim.ProxyConfig{Sleep: proxysim.Sleep{Awake: 20 * time.Second, Asleep: 3 * time.Second}},
			play: func(t *testing.T, s *scene) {
				for range 2 {
					s.online()
					s.until(limit, s.path, deviceIface, "AddressType", "public")
					lost := len(s.w.logs.with("Lost the proxy", "proxy="+s.proxy.Name()+" "))
					eventually(t, limit, "it is connected and listed while the proxy is awake", func() bool {
						_ = s.try(connectTime, s.path, deviceIface+".Connect") // fails if the proxy falls asleep meanwhile
						return s.get(s.path, deviceIface, "ServicesResolved") == true
					})
					s.until(limit, s.path, deviceIface, "Connected", false)
					eventually(t, limit, "the proxy is offline", func() bool { // for seconds only: what was logged stays
						return len(s.w.logs.with("Lost the proxy", "proxy="+s.proxy.Name()+" ")) > lost
					})
				}
			}},
		{name: "an MTU of 23", device: func(d *proxysim.DeviceSpec) { d.MTU = 0 },
			play: func(t *testing.T, s *scene) {
				usual(t, s)
				s.link(s.path)
				chr, long := s.char(s.path, echo), strings.Repeat("long ", 40)
				if v := s.get(chr, charIface, "MTU"); v != uint16(23) {
					t.Errorf("MTU is %v", v)
				}
				s.write(chr, long, "request")
				if v := s.read(chr); v != long {
					t.Errorf("read %q", v)
				}
			}},
		{name: "the list of services cut short", version: "2025.11.0", device: manyServices, play: func(t *testing.T, s *scene) {
			s.until(limit, s.path, deviceIface, "Name", "Sensor Übung")
			s.proxy.Truncate(1)
			s.link(s.path)
			if n := len(s.database(s.path)); n != len(wantDatabase)+80 {
				t.Errorf("%d attributes, want %d", n, len(wantDatabase)+80)
			}
		}},
	}
}

// info makes a hook that changes the device info.
func info(change func(m *apipb.DeviceInfoResponse)) func(*relay, frame) []frame {
	return edit(func(_ *relay, m *apipb.DeviceInfoResponse) []proto.Message {
		change(m)
		return []proto.Message{m}
	})
}

// swap lets each message 69 wait for the next 81.
func swap() func(*relay, frame) []frame {
	var held []frame
	return func(_ *relay, f frame) []frame {
		switch f.id {
		case apiwire.BluetoothDeviceConnectionResponse:
			held = append(held, f)
			return nil
		case apiwire.BluetoothConnectionsFreeResponse:
			out := append([]frame{f}, held...)
			held = nil
			return out
		}
		return []frame{f}
	}
}

func noRSSI(t *testing.T, s *scene) {
	s.until(limit, s.path, deviceIface, "Name", "Sensor Übung")
	if v := s.get(s.path, deviceIface, "RSSI"); v != nil {
		t.Errorf("RSSI is %v", v)
	}
	usual(t, s)
}

// manyServices adds services with 80 attributes.
func manyServices(d *proxysim.DeviceSpec) {
	for i := range 40 {
		u := vendor
		u[0] = byte(i)
		d.GATT.Services = append(d.GATT.Services, proxysim.ServiceSpec{UUID: u, Characteristics: []proxysim.CharSpec{{UUID: u, Properties: []string{"read"}, Value: []byte("x")}}})
	}
}

// TestQuirks plays proxies that are unlike the simulator's, all at once in one daemon.
func TestQuirks(t *testing.T) {
	t.Parallel()
	all := quirks()
	var stations []station
	scenes := map[string]*scene{}
	var devices []proxysim.DeviceSpec
	for i, q := range all {
		name := fmt.Sprintf("quirk%d", i)
		s := &scene{relay: &relay{down: q.down, up: q.up}, device: peripheral(i, name), status: proxyPath(name)}
		if q.device != nil {
			q.device(&s.device)
			if v, ok := s.device.RSSI["*"]; ok {
				s.device.RSSI = map[string]int8{name: v}
			}
		}
		s.path = devicePath(s.device)
		q.proxy.Name, q.proxy.Version = name, q.version
		stations = append(stations, station{ProxyConfig: q.proxy, through: s.relay})
		devices = append(devices, s.device)
		scenes[q.name] = s
	}
	w := newWorld(t, stations, devices, patient)
	together(t, all, func(q quirk) string { return q.name }, func(t *testing.T, q quirk) {
		s := scenes[q.name]
		name := stations[slices.IndexFunc(stations, func(st station) bool { return st.through == s.relay })].Name
		s.client, s.w, s.proxy = w.connect(t), w, w.sim.Proxy(name)
		w.logs.dump(t, "proxy="+name+" ", s.device.Address.String())
		if q.play == nil {
			q.play = usual
		}
		q.play(t, s)
	})
}
