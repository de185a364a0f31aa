package hostile

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Addresses of the attack's devices, and of the one that the good proxy hears.
const (
	goodDevice = 0x00AA03000001
	evilDevice = 0xC0EE00000001
	nastyNamed = 0xC0EE00000010 // and the 15 after it
)

// repeat does something until the attack ends.
func repeat(s *session, f func(i uint64) bool) {
	for i := uint64(0); !s.stopped() && f(i); i++ {
	}
}

// plans is everything that one proxy can do wrong. All plans run at the same time.
func plans() []plan {
	return []plan{
		{name: "million", attack: func(s *session) { // devices that nobody has, as fast as the socket goes
			data := nastyAdvert()
			repeat(s, func(i uint64) bool { return s.send(adverts(0xC10000000000+16*i, -1, data)) })
		}},
		{name: "flood", attack: func(s *session) { // few devices, each time with other content
			repeat(s, func(i uint64) bool {
				return s.send(adverts(0xC20000000000, int32(i%128)-128, binary.LittleEndian.AppendUint64([]byte{2, 1, 6, 11, 0xff, byte(i), byte(i >> 8)}, i)))
			})
		}},
		{name: "pretends", attack: func(s *session) { // it claims to hear the good device best, and reports false data of it
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			repeat(s, func(i uint64) bool {
				<-tick.C
				return s.send(&apipb.BluetoothLERawAdvertisementsResponse{Advertisements: []*apipb.BluetoothLERawAdvertisement{
					{Address: goodDevice, Rssi: -1, Data: []byte{2, 1, 6, 4, 9, 'X', byte(i), 0xff}}}})
			})
		}},
		{name: "nasty", attack: func(s *session) { // names that must not be shown unchanged
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			repeat(s, func(uint64) bool { <-tick.C; return s.send(adverts(nastyNamed, -50, nastyAdvert())) })
		}, change: func(m proto.Message) proto.Message {
			if m, ok := m.(*apipb.DeviceInfoResponse); ok {
				m.FriendlyName, m.EsphomeVersion, m.Model, m.Manufacturer, m.SuggestedArea = "K\x1b[2J", "2026.1\x1b[2J\n", long, "\r\n", "\x00"
				m.ProjectName, m.BluetoothMacAddress = "\x1b]0;evil\x07", "<script>\x1b"
				// friendly name; the last counts
				m.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 13, protowire.BytesType), nastyText))
			}
			if m, ok := m.(*apipb.HelloResponse); ok {
				m.ServerInfo = "\x1b[2J" + long
			}
			return m
		}},
		{name: "long", change: func(m proto.Message) proto.Message { // names that are not valid
			if m, ok := m.(*apipb.DeviceInfoResponse); ok {
				m.Name, m.MacAddress = long, "\x1b[2J\n"
			}
			return m
		}},
		{name: "huge", first: func(s *session) { // a frame of 10 MiB
			head := protowire.AppendVarint(protowire.AppendVarint([]byte{0}, 10<<20), uint64(apiwire.HelloResponse))
			s.raw(head)
			block := make([]byte, 64<<10)
			for range 160 {
				if !s.raw(block) {
					return
				}
			}
		}},
		{name: "half", first: func(s *session) { s.raw([]byte{0, 100, 2, 1, 2, 3}); <-s.stop }},
		{name: "silent", change: func(m proto.Message) proto.Message { // answers no ping
			if _, ping := m.(*apipb.PingResponse); ping {
				return nil
			}
			return m
		}},
		{name: "garbage", attack: func(s *session) {
			rnd := rand.NewChaCha8([32]byte{1})
			block := make([]byte, 4096)
			repeat(s, func(uint64) bool { _, _ = rnd.Read(block); return s.raw(block) })
		}},
		{name: "messages", attack: func(s *session) { // every number, with any content
			rnd := rand.New(rand.NewPCG(1, 2))
			repeat(s, func(i uint64) bool {
				id := apiwire.ID(1 + i%150)
				if id == apiwire.DisconnectRequest {
					return true
				}
				payload := make([]byte, rnd.IntN(40))
				for k := range payload {
					payload[k] = byte(rnd.IntN(256))
				}
				out, err := s.f.Append(nil, id, payload)
				return err == nil && s.raw(out)
			})
		}},
		{name: "noise", psk: true, first: func(s *session) {
			s.raw([]byte("\x01\x00\x0a\x01\x1b[2J\n\x00\xff\x00"))
			s.raw(append([]byte{1, 0xff, 0xff}, bytes.Repeat([]byte{0x1b}, 65535)...))
		}},
		{name: "rejects", psk: true, first: func(s *session) { s.raw([]byte("\x01\x00\x05\x01nn\x00\x00\x01\x00\x0c\x01\x1b[2J\r\nbad\xff\x00")) }},
		{name: "leaves", attack: func(s *session) { s.send(&apipb.DisconnectRequest{}) }},
		{name: "asks", attack: func(s *session) { // for answers that it does not read
			repeat(s, func(uint64) bool { return s.send(&apipb.PingRequest{}, &apipb.GetTimeRequest{}) })
		}},
		{name: "answers", attack: func(s *session) { // answers that nobody asked for, about links of another proxy
			repeat(s, func(i uint64) bool { return s.send(strayAnswers(i)...) })
		}},
		{name: "database", handle: endlessServices, attack: func(s *session) {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			repeat(s, func(uint64) bool {
				<-tick.C
				return s.send(adverts(evilDevice, -30, []byte{2, 1, 6, 5, 9, 'E', 'v', 'i', 'l'}))
			})
		}},
	}
}

// strayAnswers are about the good device's link, which another proxy has, and about links that nobody has.
func strayAnswers(i uint64) []proto.Message {
	a, h := uint64(goodDevice), uint32(i%20)
	if i%3 == 0 {
		a = i
	}
	return []proto.Message{
		&apipb.BluetoothDeviceConnectionResponse{Address: a, Connected: i%2 == 0, Mtu: uint32(i), Error: int32(i)},
		&apipb.BluetoothGATTNotifyDataResponse{Address: a, Handle: h, Data: []byte("forged")},
		&apipb.BluetoothGATTReadResponse{Address: a, Handle: h, Data: []byte("forged")},
		&apipb.BluetoothGATTWriteResponse{Address: a, Handle: h}, &apipb.BluetoothGATTErrorResponse{Address: a, Handle: h, Error: int32(i)},
		&apipb.BluetoothGATTNotifyResponse{Address: a, Handle: h}, &apipb.BluetoothGATTGetServicesDoneResponse{Address: a},
		&apipb.BluetoothDevicePairingResponse{Address: a, Paired: i%2 == 0}, &apipb.BluetoothDeviceUnpairingResponse{Address: a, Success: true},
		&apipb.BluetoothDeviceClearCacheResponse{Address: a, Success: true},
		&apipb.BluetoothConnectionsFreeResponse{Free: math.MaxUint32, Limit: uint32(i) << 31, Allocated: []uint64{a, math.MaxUint64, 0, a}},
		&apipb.BluetoothScannerStateResponse{State: apipb.BluetoothScannerState(-5), Mode: apipb.BluetoothScannerMode(int32(i))},
	}
}

// endlessServices accepts a connection and lists services without end, out of range and twice.
func endlessServices(s *session, m proto.Message) {
	switch m := m.(type) {
	case *apipb.BluetoothDeviceRequest:
		s.send(&apipb.BluetoothDeviceConnectionResponse{Address: m.GetAddress(), Connected: true, Mtu: 0xffffffff})
	case *apipb.BluetoothGATTGetServicesRequest:
		go func() {
			for i := uint32(0); !s.stopped(); i++ {
				c := &apipb.BluetoothGATTCharacteristic{Handle: i % 70000, ShortUuid: i, Properties: 0xffffffff}
				for k := range uint32(20) {
					c.Descriptors = append(c.Descriptors, &apipb.BluetoothGATTDescriptor{Handle: i%7 + k%3, Uuid: []uint64{1, 2}})
				}
				if !s.send(&apipb.BluetoothGATTGetServicesResponse{Address: m.GetAddress(), Services: []*apipb.BluetoothGATTService{
					{Handle: i % 65536, ShortUuid: 0x1800 + i, Characteristics: []*apipb.BluetoothGATTCharacteristic{c, c}},
				}}) {
					return
				}
			}
		}()
	}
}
