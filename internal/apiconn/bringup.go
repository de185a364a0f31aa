package apiconn

import (
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// The native API version that we announce: 1.12 and later unlock short UUIDs, before 1.14 some
// firmware complains.
const (
	apiMajor    = 1
	apiMinor    = 19
	maxAPIMajor = 2
)

// Bounds, in characters, of what a device says of itself. These texts are shown on the bus, in logs and on terminals,
// so control characters are removed, too. ESPHome's names have at most 31 characters, friendly names 120.
const (
	maxShort = 64
	maxLong  = 128
)

// maxDeviceInfo is the longest message 10 that is kept as it came, in bytes.
const maxDeviceInfo = 32 << 10

const (
	handshakeTimeout = 60 * time.Second // an ESP8266 on weak Wi-Fi needs 30
	helloTimeout     = 30 * time.Second
	simpleTimeout    = 10 * time.Second // of a plain question
)

// bringUp does everything up to the subscription, and returns the slots as they are.
func (s *session) bringUp() (ble.Slots, error) {
	var slots ble.Slots
	p := s.p
	if err := s.secure(); err != nil {
		return slots, err
	}
	s.startWriter()
	// Firmware without authentication ignores the second message, so nothing waits for its answer.
	s.w.post(
		&apipb.HelloRequest{ClientInfo: p.cfg.ClientInfo, ApiVersionMajor: apiMajor, ApiVersionMinor: apiMinor},
		&apipb.AuthenticationRequest{Password: p.cfg.Password})
	m, err := s.await(apiwire.HelloResponse, helloTimeout)
	if err != nil {
		var closed *ClosedError
		if errors.As(err, &closed) {
			closed.Early = true
		}
		return slots, err
	}
	if err := s.checkHello(m.(*apipb.HelloResponse)); err != nil {
		return slots, err
	}
	if err := s.ask(); err != nil {
		return slots, err
	}
	if s.p.cfg.Admit != nil {
		if err := s.p.cfg.Admit(s.info); err != nil {
			return slots, err
		}
	}
	slots, err = s.lookAtSlots()
	if err != nil {
		return slots, err
	}
	s.limit = time.Time{}
	_ = s.conn.SetReadDeadline(time.Time{}) // the watch takes over
	return slots, nil
}

// secure runs the Noise handshake if there is a key.
func (s *session) secure() error {
	p := s.p
	if p.cfg.PSK == nil {
		s.f = apiwire.NewPlain(s)
		return nil
	}
	s.limit = time.Now().Add(handshakeTimeout)
	_ = s.conn.SetWriteDeadline(s.limit)
	f, hello, err := apiwire.ClientHandshake(s, apiwire.ClientNoise{PSK: *p.cfg.PSK})
	_ = s.conn.SetWriteDeadline(time.Time{})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &NoAnswerError{}
	}
	// Name and MAC come before the key is checked: another device explains a wrong key.
	if p.cfg.ExpectMAC != "" && hello.MAC != "" && normalMAC(hello.MAC) != normalMAC(p.cfg.ExpectMAC) {
		return &MACError{Want: p.cfg.ExpectMAC, Got: hello.MAC}
	}
	if p.cfg.ExpectName != "" && hello.Name != "" && hello.Name != p.cfg.ExpectName {
		return &NameError{Want: p.cfg.ExpectName, Got: hello.Name}
	}
	if err != nil {
		return s.readError(err)
	}
	s.f, s.info.Encrypted = f, true
	return nil
}

// await reads until the wanted message comes and handles everything else as usual.
func (s *session) await(want apiwire.ID, timeout time.Duration) (proto.Message, error) {
	s.limit = time.Now().Add(timeout)
	for {
		id, payload, err := s.f.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, &NoAnswerError{To: want - 1} // every question here is followed by its answer's number
		}
		if err != nil {
			return nil, s.readError(err)
		}
		if id == want {
			if id == apiwire.DeviceInfoResponse && len(payload) <= maxDeviceInfo {
				s.info.Said, s.info.Via = slices.Clone(payload), apiwire.Via(payload)
			}
			return apiwire.Unmarshal(id, payload)
		}
		if err := s.dispatch(id, payload); err != nil {
			return nil, err
		}
	}
}

func (s *session) checkHello(m *apipb.HelloResponse) error {
	cfg := &s.p.cfg
	s.info.APIMajor, s.info.APIMinor = m.GetApiVersionMajor(), m.GetApiVersionMinor()
	s.info.ServerInfo = apiwire.Printable(m.GetServerInfo(), maxLong)
	if s.info.APIMajor > maxAPIMajor {
		return &VersionError{Major: s.info.APIMajor, Minor: s.info.APIMinor}
	}
	if cfg.ExpectName != "" && m.GetName() != "" && m.GetName() != cfg.ExpectName {
		return &NameError{Want: cfg.ExpectName, Got: m.GetName()}
	}
	return nil
}

// ask asks what the device is and which features it has.
func (s *session) ask() error {
	p := s.p
	s.w.post(&apipb.DeviceInfoRequest{})
	answer, err := s.await(apiwire.DeviceInfoResponse, simpleTimeout)
	if err != nil {
		return err
	}
	m := answer.(*apipb.DeviceInfoResponse)
	if p.cfg.ExpectName != "" && m.GetName() != p.cfg.ExpectName {
		return &NameError{Want: p.cfg.ExpectName, Got: m.GetName()}
	}
	if p.cfg.ExpectMAC != "" && normalMAC(m.GetMacAddress()) != normalMAC(p.cfg.ExpectMAC) {
		return &MACError{Want: p.cfg.ExpectMAC, Got: m.GetMacAddress()}
	}
	i := &s.info
	i.Name, i.FriendlyName = apiwire.Printable(m.GetName(), maxShort), apiwire.Printable(m.GetFriendlyName(), maxLong)
	i.MAC, i.BluetoothMAC = apiwire.Printable(m.GetMacAddress(), maxShort), apiwire.Printable(m.GetBluetoothMacAddress(), maxShort)
	i.Version, i.Model = apiwire.Printable(m.GetEsphomeVersion(), maxShort), apiwire.Printable(m.GetModel(), maxLong)
	i.Manufacturer, i.ProjectName = apiwire.Printable(m.GetManufacturer(), maxLong), apiwire.Printable(m.GetProjectName(), maxLong)
	i.DeepSleep = m.GetHasDeepSleep()
	i.EncryptionSupported, i.EncryptionProvisionable = m.GetApiEncryptionSupported(), m.GetApiEncryptionProvisionable()
	i.Features = features(i.APIMajor, i.APIMinor, m.GetLegacyBluetoothProxyVersion(), m.GetBluetoothProxyFeatureFlags())
	if i.Features == 0 && i.apiAtLeast(1, 15) {
		// ESPHome plans to remove the copy of the flags in the device info.
		s.w.post(&apipb.DeviceCapabilitiesRequest{})
		answer, err := s.await(apiwire.DeviceCapabilitiesResponse, simpleTimeout)
		if err != nil {
			return err
		}
		bt := answer.(*apipb.DeviceCapabilitiesResponse).GetBluetoothProxy()
		i.Features = ble.Features(bt.GetFeatureFlags())
		if bt.GetMacAddress() != "" {
			i.BluetoothMAC = apiwire.Printable(bt.GetMacAddress(), maxShort)
		}
	}
	if i.BluetoothMAC == "" {
		i.BluetoothMAC = bluetoothMAC(i.MAC, i.Version)
	}
	return nil
}

// features are the proxy's feature flags. Field 15 of the device info counts since API 1.9; before that, they follow
// from the legacy version.
func features(major, minor, legacy, flags uint32) ble.Features {
	if major < 1 || major == 1 && minor < 9 {
		return ble.FeaturesFromLegacy(legacy)
	}
	return ble.Features(flags)
}

func (i *Info) apiAtLeast(major, minor uint32) bool {
	return i.APIMajor > major || i.APIMajor == major && i.APIMinor >= minor
}

// lookAtSlots finds out whether another host uses the proxy, as far as that is possible without taking the proxy from
// it: by the connection slots, and by the question of whose.go. If so, and under Yield, it fails.
func (s *session) lookAtSlots() (ble.Slots, error) {
	if !s.info.Features.Has(ble.FeatureActiveConnections) {
		return ble.Slots{}, nil
	}
	slots, _, err := s.askSlots()
	if err != nil || !slots.Known {
		return ble.Slots{}, err
	}
	conflict := &ConflictError{Addresses: s.p.foreign(slots), Slots: s.p.foreignSlots(slots)}
	s.p.forget(slots)
	if s.p.cfg.OnConflict != Yield || s.p.forced() || s.info.Shared() {
		return slots, nil
	}
	theirs := conflict.Slots > 0
	switch {
	case !s.newestWins(): // the subscription will tell
		theirs = false
	case s.canAsk() && slots.Free > 0 && !s.p.ghost():
		theirs, err = s.hasSubscriber()
		if err != nil {
			return ble.Slots{}, err
		}
	}
	if !theirs {
		s.probe.mu.Lock()
		s.probe.strangers = conflict.Addresses
		s.probe.mu.Unlock()
		return slots, nil
	}
	s.w.post(&apipb.DisconnectRequest{})
	_, _ = s.await(apiwire.DisconnectResponse, leaveTimeout) // the session ends in any case
	return ble.Slots{}, conflict
}

// Inherit takes over the links that old asked the same device for. p takes the place of old, and finds these links at
// the device: they are no sign of another host. It is called before p is started and after old was stopped.
func (p *Proxy) Inherit(old *Proxy) {
	old.mu.Lock()
	ours := maps.Clone(old.ours)
	old.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ours = ours
}

// foreign lists the allocated addresses that we never asked for.
func (p *Proxy) foreign(slots ble.Slots) []ble.Address {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []ble.Address
	for _, a := range slots.Allocated {
		if !p.ours[a] {
			out = append(out, a)
		}
	}
	return out
}

// foreignSlots is the number of slots in use that are not ours. Firmware before 2025.2 tells no more than a number.
func (p *Proxy) foreignSlots(slots ble.Slots) int {
	if slots.HasAllocated {
		return len(p.foreign(slots))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, slots.Limit-slots.Free-len(p.ours))
}

// forget drops, at the beginning of a session, those of our addresses that hold no slot.
func (p *Proxy) forget(slots ble.Slots) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for a := range p.ours {
		if slots.HasAllocated && !slices.Contains(slots.Allocated, a) {
			delete(p.ours, a)
		}
	}
}

// announce subscribes and makes the session known.
func (s *session) announce(slots ble.Slots) {
	p := s.p
	p.mu.Lock()
	p.info, p.slots = s.info, slots
	p.state, p.lastErr = StateOnline, nil
	if p.name == "" {
		p.name = s.info.Name
	}
	clear(p.warned)
	p.thefts.since, p.force = time.Now(), false
	wasUp := p.everUp
	p.everUp = true
	p.mu.Unlock()
	p.changed()
	p.log.Info("Proxy is online", "name", apiwire.Printable(s.info.Name, 32), "esphome", apiwire.Printable(s.info.Version, 32),
		"features", s.info.Features.String(), "encrypted", s.info.Encrypted)
	if !wasUp && !s.tells() && !s.info.Shared() { // nothing tells whether another host had it
		p.cfg.Previous.add(p)
		p.mu.Lock()
		p.taken = time.Now()
		p.mu.Unlock()
	}

	// The subscription comes before anybody can make requests: the proxy answers GATT requests to its subscriber only.
	s.subscribe()
	s.up = true
	p.traffic.sessions.Add(1)
	p.current.Store(s)
	p.cfg.Handler.Online(p, s.info)
	if slots.Known {
		p.cfg.Handler.Slots(p, p.Slots())
	}
	s.proveNow()
	if !wasUp {
		close(p.first)
	}
}

// subscribe asks for the advertisements. It may be repeated.
func (s *session) subscribe() {
	m := new(apipb.SubscribeBluetoothLEAdvertisementsRequest)
	if s.info.Features.Has(ble.FeatureRawAdvertisements) {
		m.Flags = 1
	}
	s.w.post(m)
}
