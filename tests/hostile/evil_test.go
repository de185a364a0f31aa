package hostile

import (
	"hash/fnv"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"

	"google.golang.org/protobuf/proto"
)

// nastyText has characters that must never reach a terminal, a log, a page or D-Bus unchanged.
const nastyText = "\x1b[31m\x1b]0;evil\x07\r\n<script>alert(1)</script>\x00\u202e\x9b5m\xff\xfe"

// evil is a proxy that the test itself plays, from the beginning of a session on.
type evil struct {
	addr  string
	sent  atomic.Uint64 // messages
	conns atomic.Uint64 // sessions
	stop  chan struct{}
}

// session is one connection of an evil proxy.
type session struct {
	*evil
	conn net.Conn
	mu   sync.Mutex
	f    *apiwire.Framer
}

// send sends messages; false if the connection is gone.
func (s *session) send(messages ...proto.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []byte
	for _, m := range messages {
		var err error
		out, err = s.f.AppendMessage(out, m)
		if err != nil {
			return false
		}
	}
	s.sent.Add(uint64(len(messages)))
	_, err := s.conn.Write(out)
	return err == nil
}

func (s *session) raw(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn.Write(b)
	return err == nil
}

func (s *session) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// plan says how an evil proxy behaves.
type plan struct {
	name string
	psk  bool // the daemon expects encryption
	// first, unless nil, replaces everything else that happens on a connection.
	first func(s *session)
	// change, unless nil, changes an answer; nil sends none.
	change func(m proto.Message) proto.Message
	// handle, unless nil, gets the messages that the usual answers do not cover.
	handle func(s *session, m proto.Message)
	// attack runs in parallel with the answers, once the daemon has subscribed.
	attack func(s *session)
}

// listen starts an evil proxy that ends with the test.
func listen(t testing.TB, p plan) *evil {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &evil{addr: ln.Addr().String(), stop: make(chan struct{})}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	t.Cleanup(func() {
		close(e.stop)
		_ = ln.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			e.conns.Add(1)
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			wg.Go(func() {
				defer conn.Close()
				s := &session{evil: e, conn: conn, f: apiwire.NewPlain(conn)}
				if p.first != nil {
					p.first(s)
				} else {
					s.serve(p)
				}
			})
		}
	})
	return e
}

// serve answers as a proxy does, except for what the plan changes.
func (s *session) serve(p plan) {
	attacking := false
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.conn.Close()
	for {
		id, payload, err := s.f.Read()
		if err != nil {
			return
		}
		if apiwire.New(id) == nil {
			continue
		}
		m, err := apiwire.Unmarshal(id, payload)
		if err != nil {
			return
		}
		answer := usual(p.name, m)
		if answer != nil && p.change != nil {
			answer = p.change(answer)
		}
		if answer != nil && !s.send(answer) {
			return
		}
		if p.handle != nil {
			p.handle(s, m)
		}
		if _, subscribed := m.(*apipb.SubscribeBluetoothLEAdvertisementsRequest); subscribed && p.attack != nil && !attacking {
			attacking = true
			wg.Go(func() { p.attack(s) })
		}
	}
}

// macOf gives each device a MAC of its own: a second device with the same MAC would be refused.
func macOf(name string) ble.Address {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return 0x02EE_0000_0000 | ble.Address(h.Sum32())&^3
}

// usual is what a harmless proxy answers.
func usual(name string, m proto.Message) proto.Message {
	switch m.(type) {
	case *apipb.HelloRequest:
		return &apipb.HelloResponse{ApiVersionMajor: 1, ApiVersionMinor: 19, ServerInfo: "evil (esphome v2026.10.0)", Name: name}
	case *apipb.AuthenticationRequest:
		return &apipb.AuthenticationResponse{}
	case *apipb.DeviceInfoRequest:
		return &apipb.DeviceInfoResponse{
			Name: name, FriendlyName: name, MacAddress: macOf(name).String(), EsphomeVersion: "2026.10.0",
			BluetoothMacAddress: (macOf(name) + 2).String(), BluetoothProxyFeatureFlags: uint32(ble.FeaturePassiveScan | ble.FeatureActiveConnections |
				ble.FeatureRemoteCaching | ble.FeaturePairing | ble.FeatureCacheClearing | ble.FeatureRawAdvertisements | ble.FeatureStateAndMode),
		}
	case *apipb.SubscribeBluetoothConnectionsFreeRequest:
		return &apipb.BluetoothConnectionsFreeResponse{Free: 3, Limit: 3}
	case *apipb.SubscribeBluetoothLEAdvertisementsRequest:
		return &apipb.BluetoothScannerStateResponse{State: apipb.BluetoothScannerState(2), Mode: 1}
	case *apipb.PingRequest:
		return &apipb.PingResponse{}
	}
	return nil
}

// adverts makes a message of 16 advertisements of the addresses from first on.
func adverts(first uint64, rssi int32, data []byte) *apipb.BluetoothLERawAdvertisementsResponse {
	out := &apipb.BluetoothLERawAdvertisementsResponse{}
	for i := range uint64(16) {
		out.Advertisements = append(out.Advertisements, &apipb.BluetoothLERawAdvertisement{Address: first + i, Rssi: rssi, AddressType: 1, Data: data})
	}
	return out
}

// nastyAdvert is the advertisement of a device with a nasty name and a UUID.
func nastyAdvert() []byte {
	name := nastyText[:26]
	out := []byte{2, 1, 6, byte(len(name) + 1), 9}
	return append(append(out, name...), 3, 3, 0x0f, 0x18)
}

// long is a text that is far too long; unlike nastyText it is UTF-8.
var long = strings.Repeat("x", 50_000) + "\x1b[31m\u009b5m\u202e"
