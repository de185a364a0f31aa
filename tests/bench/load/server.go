package load

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"

	"google.golang.org/protobuf/proto"
)

// features are those of a current ESP32 proxy.
const features = ble.FeaturePassiveScan | ble.FeatureActiveConnections | ble.FeatureRemoteCaching | ble.FeaturePairing |
	ble.FeatureCacheClearing | ble.FeatureRawAdvertisements | ble.FeatureStateAndMode | ble.FeatureConnectionParams

// proxy is one listener. It serves any number of connections, one of which has subscribed.
type proxy struct {
	name, mac string
	spec      *Spec
	psk       *[apiwire.KeySize]byte
	listener  net.Listener

	subscribed chan *session // capacity 1: the newest subscriber

	// Only the goroutine that sends uses these.
	to     *session
	frames []frame
	next   int // the next frame
	pass   int // the present round of all devices
	buf    []byte
}

func newProxy(ctx context.Context, s *Spec, n int) (*proxy, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{
		name: fmt.Sprintf("bench-%03d", n), mac: fmt.Sprintf("24:6F:28:00:%02X:%02X", n>>8, n&0xff), spec: s, listener: l,
		subscribed: make(chan *session, 1), frames: stream(s, n),
	}
	if s.PSK != "" {
		key, err := apiwire.ParsePSK(s.PSK)
		if err != nil {
			return nil, err
		}
		p.psk = &key
	}
	return p, nil
}

// serve accepts connections until the listener is closed.
func (p *proxy) serve() {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer conn.Close()
			s := &session{proxy: p, conn: conn, pong: make(chan struct{}, 1)}
			_ = s.run() // clients may leave
		})
	}
}

// session is one connection of a client.
type session struct {
	*proxy
	conn   net.Conn
	framer *apiwire.Framer
	pong   chan struct{}

	// Only run's goroutine uses these.
	advertises bool     // the client subscribed to advertisements
	links      []uint64 // the addresses of devices that are connected

	mu  sync.Mutex // held while writing
	out []byte
}

func (s *session) run() (err error) {
	if s.psk == nil {
		s.framer, err = apiwire.ServerPlain(s.conn)
	} else {
		mac := strings.ToLower(strings.ReplaceAll(s.mac, ":", ""))
		s.framer, err = apiwire.ServerHandshake(s.conn, apiwire.ServerNoise{PSK: *s.psk, Name: s.name, MAC: mac})
	}
	for err == nil {
		var (
			id      apiwire.ID
			payload []byte
		)
		id, payload, err = s.framer.Read()
		if err != nil {
			break
		}
		m := apiwire.New(id)
		if m == nil {
			if id == apiwire.ListEntitiesRequest {
				err = s.empty(apiwire.ListEntitiesDoneResponse)
			}
			continue
		}
		m, err = apiwire.Unmarshal(id, payload)
		if err == nil {
			err = s.handle(m)
		}
	}
	return err
}

func (s *session) handle(m proto.Message) error {
	switch m := m.(type) {
	case *apipb.HelloRequest:
		return s.send(&apipb.HelloResponse{ApiVersionMajor: 1, ApiVersionMinor: 14, ServerInfo: "esphome 2026.10.0", Name: s.name})
	case *apipb.AuthenticationRequest:
		return s.send(&apipb.AuthenticationResponse{})
	case *apipb.PingRequest:
		return s.empty(apiwire.PingResponse)
	case *apipb.PingResponse:
		select {
		case s.pong <- struct{}{}:
		default:
		}
	case *apipb.ListEntitiesRequest:
		return s.empty(apiwire.ListEntitiesDoneResponse)
	case *apipb.DisconnectRequest:
		return s.empty(apiwire.DisconnectResponse)
	case *apipb.DeviceInfoRequest:
		return s.send(&apipb.DeviceInfoResponse{
			Name: s.name, MacAddress: s.mac, BluetoothMacAddress: s.mac, EsphomeVersion: "2026.10.0",
			Model: "esp32dev", Manufacturer: "Espressif", BluetoothProxyFeatureFlags: uint32(features), ApiEncryptionSupported: s.psk != nil,
		})
	case *apipb.SubscribeBluetoothLEAdvertisementsRequest:
		s.advertises = true
		if err := s.scanning(apipb.BluetoothScannerMode_BLUETOOTH_SCANNER_MODE_PASSIVE); err != nil {
			return err
		}
		select {
		case <-s.subscribed:
		default:
		}
		s.subscribed <- s
	case *apipb.SubscribeBluetoothConnectionsFreeRequest:
		// A client that hears nothing asks again, to see whether its links are still there.
		return s.send(&apipb.BluetoothConnectionsFreeResponse{
			Free: slots - min(uint32(len(s.links)), slots), Limit: slots, Allocated: s.links,
		})
	case *apipb.BluetoothScannerSetModeRequest:
		return s.scanning(m.GetMode())
	default:
		return s.gatt(m)
	}
	return nil
}

func (s *session) scanning(mode apipb.BluetoothScannerMode) error {
	return s.send(&apipb.BluetoothScannerStateResponse{State: apipb.BluetoothScannerState_BLUETOOTH_SCANNER_STATE_RUNNING, Mode: mode})
}

// write sends the frames that add appends, in one piece.
func (s *session) write(add func([]byte) ([]byte, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	s.out, err = add(s.out[:0])
	if err == nil {
		_, err = s.conn.Write(s.out)
	}
	return err
}

func (s *session) send(m proto.Message) error {
	return s.write(func(b []byte) ([]byte, error) { return s.framer.AppendMessage(b, m) })
}

func (s *session) empty(id apiwire.ID) error {
	return s.write(func(b []byte) ([]byte, error) { return s.framer.Append(b, id, nil) })
}

// answerTimeout is how long a client may take to read everything that it was sent.
const answerTimeout = time.Minute

// ping returns once the client has read everything.
func (s *session) ping() error {
	if err := s.empty(apiwire.PingRequest); err != nil {
		return err
	}
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	select {
	case <-s.pong:
		return nil
	case <-timer.C:
		return fmt.Errorf("the client of %s did not answer a ping within %v", s.name, answerTimeout)
	}
}
