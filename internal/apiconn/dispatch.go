package apiconn

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// dispatch handles one message; an error ends the session. What cannot be decoded is
// skipped: one odd message is no reason to drop every link.
func (s *session) dispatch(id apiwire.ID, payload []byte) error {
	switch id {
	case apiwire.BluetoothLERawAdvertisementsResponse:
		s.rawAdverts(payload)
		return nil
	case apiwire.PingResponse, apiwire.AuthenticationRequest:
		return nil
	}
	if !apiwire.Known(id) || id == apiwire.ListEntitiesDoneResponse || id == apiwire.DeviceCapabilitiesResponse {
		s.unread(id, payload)
		return nil
	}
	m, err := apiwire.Unmarshal(id, payload)
	if err != nil {
		s.p.explain("Skipped a message", err)
		return nil
	}
	return s.handle(m)
}

func (s *session) handle(message proto.Message) error {
	p := s.p
	switch m := message.(type) {
	case *apipb.PingRequest:
		s.w.post(&apipb.PingResponse{})
	case *apipb.GetTimeRequest:
		// We tell the time since 1970 only: the time zone is part of the device's configuration.
		s.w.post(&apipb.GetTimeResponse{EpochSeconds: uint32(time.Now().Unix())})
	case *apipb.DisconnectRequest:
		s.peerLeft.Store(true)
		s.w.post(&apipb.DisconnectResponse{})
		s.flush()
		return &PeerDisconnectError{Reason: int32(m.GetReason())}
	case *apipb.DisconnectResponse:
		if s.closing.Load() {
			return ErrStopped
		}
	case *apipb.AuthenticationResponse:
		if m.GetInvalidPassword() {
			return &PasswordError{}
		}
	case *apipb.BluetoothLEAdvertisementResponse:
		s.decodedAdvert(m)
	case *apipb.BluetoothScannerStateResponse:
		s.scannerState(m)
	case *apipb.BluetoothConnectionsFreeResponse:
		s.slots(m)
	default:
		if s.up {
			s.handleLink(p, message)
		}
	}
	return nil
}

// flushTimeout bounds the time in which a last answer is sent.
const flushTimeout = 100 * time.Millisecond

// flush reads until the peer closes, which it does once it has our last answer, or until flushTimeout has passed.
func (s *session) flush() {
	s.limit = time.Time{} // while the session is brought up, each read would set its own deadline
	_ = s.conn.SetReadDeadline(time.Now().Add(flushTimeout))
	// What the peer still sends does not matter.
	for {
		if _, _, err := s.f.Read(); err != nil {
			return
		}
	}
}

// handleLink handles what concerns one peripheral.
func (s *session) handleLink(p *Proxy, message proto.Message) {
	s.value(message)
	switch m := message.(type) {
	case *apipb.BluetoothDeviceConnectionResponse:
		s.connection(m)
	case *apipb.BluetoothGATTGetServicesResponse:
		s.ops.addServices(ble.AddressFromWire(m.GetAddress()), m.GetServices())
	case *apipb.BluetoothGATTGetServicesDoneResponse:
		s.ops.complete(ble.AddressFromWire(m.GetAddress()), opServices, 0, apiwire.BluetoothGATTGetServicesDoneResponse, nil)
	case *apipb.BluetoothGATTReadResponse:
		s.ops.complete(ble.AddressFromWire(m.GetAddress()), opGATT, m.GetHandle(), apiwire.BluetoothGATTReadResponse, m.GetData())
	case *apipb.BluetoothGATTWriteResponse:
		s.ops.complete(ble.AddressFromWire(m.GetAddress()), opGATT, m.GetHandle(), apiwire.BluetoothGATTWriteResponse, nil)
	case *apipb.BluetoothGATTNotifyResponse:
		s.ops.complete(ble.AddressFromWire(m.GetAddress()), opGATT, m.GetHandle(), apiwire.BluetoothGATTNotifyResponse, nil)
	case *apipb.BluetoothGATTErrorResponse:
		a, code := ble.AddressFromWire(m.GetAddress()), m.GetError()
		if a == probeAddress {
			s.probeAnswered()
		} else if m.GetHandle() == 0 {
			s.ops.refuse(a, opServices, 0, codeError(code))
		} else {
			s.ops.refuse(a, opGATT, m.GetHandle(), codeError(code))
		}
	case *apipb.BluetoothGATTNotifyDataResponse:
		if m.GetHandle() <= 0xffff {
			p.cfg.Handler.Notification(p, ble.AddressFromWire(m.GetAddress()), uint16(m.GetHandle()), m.GetData())
		}
	case *apipb.BluetoothDevicePairingResponse:
		s.pairing(m)
	case *apipb.BluetoothDeviceUnpairingResponse:
		s.ops.answer(ble.AddressFromWire(m.GetAddress()), opUnpair, resultError(m.GetSuccess(), m.GetError()))
	case *apipb.BluetoothDeviceClearCacheResponse:
		a, err := ble.AddressFromWire(m.GetAddress()), resultError(m.GetSuccess(), m.GetError())
		if !s.ops.answer(a, opClearCache, err) && err != nil { // of a Connect that lists the services anew
			p.log.Debug("the proxy did not drop its GATT cache", "device", a, "error", err)
		}
	case *apipb.BluetoothSetConnectionParamsResponse:
		s.ops.answer(ble.AddressFromWire(m.GetAddress()), opParams, resultError(m.GetError() == 0, m.GetError()))
	}
}

// resultError makes an error of a success flag and an error number.
func resultError(ok bool, code int32) error {
	switch {
	case ok:
		return nil
	case code == -1:
		return ble.ErrNotConnected
	}
	return &StackError{Code: code}
}

// pairing handles message 85: the answer to PAIR, up to 2026.7 also to UNPAIR,
// or unasked when a peripheral asked for security.
func (s *session) pairing(m *apipb.BluetoothDevicePairingResponse) {
	a, code := ble.AddressFromWire(m.GetAddress()), m.GetError()
	var err error
	switch {
	case m.GetPaired():
	case code == -1:
		err = ble.ErrNotConnected
	default:
		err = &ble.PairError{Reason: code}
	}
	if s.ops.answer(a, opPair, err) {
		return
	}
	if s.ops.answer(a, opUnpair, resultError(m.GetPaired(), code)) {
		return
	}
	s.p.cfg.Handler.PairingChanged(s.p, a, m.GetPaired(), code)
}

func (s *session) connection(m *apipb.BluetoothDeviceConnectionResponse) {
	p := s.p
	a := ble.AddressFromWire(m.GetAddress())
	if a == 0 || a == probeAddress {
		// Firmware up to 2025.7 sends a second report without an address after each disconnect. It also comes when we asked
		// whose the proxy is.
		return
	}
	if m.GetConnected() {
		mtu := ble.ClampMTU(m.GetMtu())
		p.cfg.Handler.LinkUp(p, a, mtu)
		s.ops.connected(a, mtu)
		return
	}
	p.mu.Lock()
	held := p.slots.HasAllocated && slices.Contains(p.slots.Allocated, a)
	if held { // the link ended, but its slot is still in use and ours
		p.parted[a] = true
	} else {
		delete(p.ours, a)
	}
	p.mu.Unlock()
	p.cfg.Handler.LinkDown(p, a, m.GetError())
	s.ops.disconnected(a, m.GetError(), held)
}

// maxAllocated bounds the list of slots; a proxy has nine at most.
const maxAllocated = 64

// slotsFrom reads a message 81. It leaves out the slot that a question of whose.go, ours or another host's, holds for a
// moment; held reports that slot.
func slotsFrom(m *apipb.BluetoothConnectionsFreeResponse) (out ble.Slots, held bool) {
	out = ble.Slots{Known: true, Free: int(min(m.GetFree(), maxAllocated)), Limit: int(min(m.GetLimit(), maxAllocated))}
	for _, wire := range m.GetAllocated()[:min(len(m.GetAllocated()), maxAllocated)] {
		a := ble.AddressFromWire(wire)
		switch {
		case a == probeAddress && !held:
			held = true
			out.Free++
		case a != 0 && a != probeAddress:
			out.Allocated = append(out.Allocated, a)
		}
	}
	// Firmware that sends the list keeps it equal to the numbers.
	out.HasAllocated = len(out.Allocated) == out.Limit-out.Free
	return out, held
}

func (s *session) slots(m *apipb.BluetoothConnectionsFreeResponse) {
	slots, held := slotsFrom(m)
	if !s.up {
		return
	}
	p := s.p
	p.mu.Lock()
	p.slots = slots
	for a := range p.parted {
		if slots.HasAllocated && !slices.Contains(slots.Allocated, a) {
			delete(p.parted, a)
			delete(p.ours, a)
		}
	}
	p.mu.Unlock()
	s.judge(slots, held)
	handed := slots
	handed.Allocated = slices.Clone(slots.Allocated)
	p.cfg.Handler.Slots(p, handed)
	if slots.HasAllocated {
		s.ops.released(slots.Allocated)
	}
}

// versionAtLeast compares an ESPHome version like 2026.10.0; one that cannot be
// read counts as new.
func versionAtLeast(version string, year, month int) bool {
	v, known := ble.ParseVersion(version)
	return !known || v.AtLeast(year, month)
}
