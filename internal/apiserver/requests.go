package apiserver

import (
	"fmt"
	"slices"
	"time"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

const (
	// maxClientName is what the firmware keeps of a client's name.
	maxClientName = 31
	// subscribeRaw is bit 0 of message 66's flags.
	subscribeRaw = 1
	// capabilitiesMinor is the API version with messages 149 and 150.
	capabilitiesMinor = 15
)

// ID is a message number.
type ID = apiwire.ID

// read handles what the client sends until the session ends.
func (s *Session) read() error {
	for {
		id, payload, err := s.framer.Read()
		if err != nil {
			return fmt.Errorf("cannot read from the client: %w", err)
		}
		s.lastRead.Store(int64(time.Since(s.begun)))
		s.pinged.Store(false)
		if s.leaving {
			continue
		}
		if err := s.handle(id, payload); err != nil {
			return err
		}
	}
}

func (s *Session) handle(id ID, payload []byte) error {
	if s.authed && s.otherFeature(id, payload) {
		return nil
	}
	if s.turnedAway && id != apiwire.DisconnectRequest && id != apiwire.DisconnectResponse {
		return nil
	}
	m := apiwire.New(id)
	if m == nil {
		if !s.authed {
			s.leave(ErrNotAuthenticated)
		}
		return nil
	}
	m, err := apiwire.Unmarshal(id, payload)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *apipb.HelloRequest:
		s.hello(m)
	case *apipb.AuthenticationRequest:
		s.authenticate(m.GetPassword())
	case *apipb.PingRequest:
		s.sendEmpty(apiwire.PingResponse)
	case *apipb.PingResponse:
	case *apipb.DisconnectRequest:
		s.sendEmpty(apiwire.DisconnectResponse)
		s.leave(ErrDisconnected)
	case *apipb.DisconnectResponse:
		s.leave(ErrDisconnected)
	case *apipb.DeviceInfoRequest:
		// Allowed before authentication by the firmware that needs message 3.
		if !s.authed && !s.cfg.AnswerAuth {
			s.leave(ErrNotAuthenticated)
			return nil
		}
		s.enqueue(message{id: apiwire.DeviceInfoResponse, payload: s.deviceInfo()})
	default:
		if !s.authed {
			s.leave(ErrNotAuthenticated)
			return nil
		}
		s.request(m)
	}
	return nil
}

// leave ends the session with err once the queue is written; nothing that comes until then counts.
func (s *Session) leave(err error) {
	s.leaving = true
	s.endWithin(goodbyeTimeout)
	s.queue.finish(err)
	s.queue.kick()
}

func (s *Session) hello(m *apipb.HelloRequest) {
	if !s.greeted && !s.framer.Encrypted() && !s.proved() {
		s.leaving = true
		s.cancel(ErrRefused)
		return
	}
	s.greeted = true
	s.mu.Lock()
	s.name = apiwire.Printable(m.GetClientInfo(), maxClientName)
	s.major, s.minor = m.GetApiVersionMajor(), m.GetApiVersionMinor()
	s.mu.Unlock()
	d := s.cfg.Device()
	info := s.cfg.ServerInfo
	if info == "" {
		info = d.ESPHomeVersion
	}
	s.send(&apipb.HelloResponse{
		ApiVersionMajor: 1, ApiVersionMinor: s.cfg.APIMinor, ServerInfo: info, Name: d.Name,
	})
	if s.cfg.ProvisioningClosed != nil && s.cfg.ProvisioningClosed() {
		s.turnedAway = true
		s.Disconnect(ReasonProvisioningClosed)
		return
	}
	if s.cfg.AuthOnHello {
		s.authenticated()
	}
}

func (s *Session) authenticate(password string) {
	if s.cfg.AuthOnHello {
		if s.cfg.AnswerAuth {
			s.send(&apipb.AuthenticationResponse{})
		}
		return
	}
	if !s.greeted {
		s.leave(ErrNotAuthenticated)
		return
	}
	if password != s.cfg.Password {
		s.send(&apipb.AuthenticationResponse{InvalidPassword: true})
		s.log.Info("client sent a wrong password", "client", s.ClientName())
		s.leave(ErrPassword)
		return
	}
	s.send(&apipb.AuthenticationResponse{})
	s.authenticated()
}

func (s *Session) authenticated() {
	if s.authed {
		return
	}
	s.authed = true
	s.goodbye.Store(0)
	s.queue.kick()
	s.log.Debug("client authenticated", "client", s.ClientName())
	if s.cfg.AskTime {
		s.sendEmpty(apiwire.GetTimeRequest)
	}
	s.backend.Opened(s)
}

// request hands a request of the Bluetooth proxy to the backend.
func (s *Session) request(m any) {
	switch m := m.(type) {
	case *apipb.DeviceCapabilitiesRequest:
		if s.cfg.APIMinor >= capabilitiesMinor {
			s.enqueue(message{id: apiwire.DeviceCapabilitiesResponse, payload: s.cfg.Device().capabilities()})
		}
	case *apipb.NoiseEncryptionSetKeyRequest:
		if s.cfg.SetKey == nil {
			s.KeySet(false)
			return
		}
		s.cfg.SetKey(s, slices.Clone(m.GetKey()))
	case *apipb.SubscribeBluetoothLEAdvertisementsRequest:
		s.backend.SubscribeAdverts(s, m.GetFlags()&subscribeRaw != 0)
	case *apipb.UnsubscribeBluetoothLEAdvertisementsRequest:
		s.backend.UnsubscribeAdverts(s)
	case *apipb.SubscribeBluetoothConnectionsFreeRequest:
		s.backend.SubscribeSlots(s)
	case *apipb.BluetoothScannerSetModeRequest:
		mode := ble.ScanPassive
		if m.GetMode() == apipb.BluetoothScannerMode_BLUETOOTH_SCANNER_MODE_ACTIVE {
			mode = ble.ScanActive
		}
		s.backend.SetScanMode(s, mode)
	case *apipb.BluetoothDeviceRequest:
		s.deviceRequest(m)
	case *apipb.BluetoothGATTGetServicesRequest:
		s.backend.GetServices(s, ble.AddressFromWire(m.GetAddress()))
	case *apipb.BluetoothGATTReadRequest:
		s.backend.Read(s, ble.AddressFromWire(m.GetAddress()), uint16(m.GetHandle()))
	case *apipb.BluetoothGATTReadDescriptorRequest:
		s.backend.Read(s, ble.AddressFromWire(m.GetAddress()), uint16(m.GetHandle()))
	case *apipb.BluetoothGATTWriteRequest:
		s.backend.Write(s, ble.AddressFromWire(m.GetAddress()), uint16(m.GetHandle()), slices.Clone(m.GetData()), m.GetResponse())
	case *apipb.BluetoothGATTWriteDescriptorRequest:
		s.backend.Write(s, ble.AddressFromWire(m.GetAddress()), uint16(m.GetHandle()), slices.Clone(m.GetData()), true)
	case *apipb.BluetoothGATTNotifyRequest:
		s.backend.Notify(s, ble.AddressFromWire(m.GetAddress()), uint16(m.GetHandle()), m.GetEnable())
	case *apipb.BluetoothSetConnectionParamsRequest:
		s.backend.SetConnectionParams(s, ble.AddressFromWire(m.GetAddress()), ble.ConnectionParams{
			MinInterval: clamp16(m.GetMinInterval()), MaxInterval: clamp16(m.GetMaxInterval()),
			Latency: clamp16(m.GetLatency()), Timeout: clamp16(m.GetTimeout()),
		})
	}
}

func (s *Session) deviceRequest(m *apipb.BluetoothDeviceRequest) {
	a := ble.AddressFromWire(m.GetAddress())
	connect := ConnectRequest{Address: a, Type: ble.AddressType(m.GetAddressType()), HasType: m.GetHasAddressType()}
	switch m.GetRequestType() {
	case apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT:
		connect.Legacy = true
		s.backend.Connect(s, connect)
	case apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITH_CACHE:
		connect.Cached = true
		s.backend.Connect(s, connect)
	case apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CONNECT_V3_WITHOUT_CACHE:
		s.backend.Connect(s, connect)
	case apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_DISCONNECT:
		s.backend.Disconnect(s, a)
	case apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_PAIR:
		s.backend.Pair(s, a)
	case apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_UNPAIR:
		s.backend.Unpair(s, a)
	case apipb.BluetoothDeviceRequestType_BLUETOOTH_DEVICE_REQUEST_TYPE_CLEAR_CACHE:
		s.backend.ClearCache(s, a)
	}
}

func clamp16(v uint32) uint16 { return uint16(min(v, 0xffff)) }
