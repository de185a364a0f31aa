package apiserver

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"testing"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// TestVectors sends the server's messages of the vectors through the methods
// of a session and compares the payloads with what firmware sends.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile("../testdata/esphome-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Messages []struct {
			ID       apiwire.ID `json:"id"`
			Name     string     `json:"name"`
			Payload  string     `json:"payload_hex"`
			Firmware string     `json:"firmware_payload_hex"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	covered := 0
	for _, v := range vectors.Messages {
		payload, err := hex.DecodeString(v.Payload)
		if err != nil {
			t.Fatal(err)
		}
		m, err := apiwire.Unmarshal(v.ID, payload)
		if err != nil {
			continue // apiwire's own test counts these
		}
		want := v.Firmware
		if want == "" {
			want = v.Payload
		}
		s := &Session{queue: newQueue(QueueLimits{}), conn: &net.TCPConn{}, cancel: func(error) {}}
		if !resend(s, m) {
			continue
		}
		covered++
		if len(s.queue.msgs) != 1 {
			t.Fatalf("%s: %d messages", v.Name, len(s.queue.msgs))
		}
		if got := s.queue.msgs[0]; got.id != v.ID || hex.EncodeToString(got.payload) != want {
			t.Errorf("%s: got %v %x\nwant %s", v.Name, got.id, got.payload, want)
		}
	}
	fmt.Printf("esphome-vectors.json: %d server messages of %d messages sent as firmware does\n", covered, len(vectors.Messages))
	if covered < 30 {
		t.Errorf("only %d vectors covered", covered)
	}
}

// resend sends m again by the method for it, if there is one.
func resend(s *Session, m any) bool {
	addr := func(v uint64) ble.Address { return ble.AddressFromWire(v) }
	switch m := m.(type) {
	case *apipb.BluetoothScannerStateResponse:
		s.Scanner(ScannerStatus{State: ble.ScannerState(m.GetState()), Mode: ble.ScannerMode(m.GetMode()), Configured: ble.ScannerMode(m.GetConfiguredMode())})
	case *apipb.BluetoothConnectionsFreeResponse:
		sl := ble.Slots{Free: int(m.GetFree()), Limit: int(m.GetLimit()), HasAllocated: true}
		for _, a := range m.GetAllocated() {
			sl.Allocated = append(sl.Allocated, addr(a))
		}
		s.Slots(sl)
	case *apipb.BluetoothDeviceConnectionResponse:
		s.Connection(addr(m.GetAddress()), m.GetConnected(), uint16(m.GetMtu()), m.GetError())
	case *apipb.BluetoothGATTGetServicesDoneResponse:
		s.ServicesDone(addr(m.GetAddress()))
	case *apipb.BluetoothGATTReadResponse:
		s.ReadData(addr(m.GetAddress()), uint16(m.GetHandle()), m.GetData())
	case *apipb.BluetoothGATTWriteResponse:
		s.Written(addr(m.GetAddress()), uint16(m.GetHandle()))
	case *apipb.BluetoothGATTNotifyResponse:
		s.NotifySet(addr(m.GetAddress()), uint16(m.GetHandle()))
	case *apipb.BluetoothGATTNotifyDataResponse:
		s.NotifyData(addr(m.GetAddress()), uint16(m.GetHandle()), m.GetData())
	case *apipb.BluetoothGATTErrorResponse:
		s.GATTError(addr(m.GetAddress()), uint16(m.GetHandle()), m.GetError())
	case *apipb.BluetoothDevicePairingResponse:
		s.Paired(addr(m.GetAddress()), m.GetPaired(), m.GetError())
	case *apipb.BluetoothDeviceUnpairingResponse:
		s.Unpaired(addr(m.GetAddress()), m.GetSuccess(), m.GetError())
	case *apipb.BluetoothDeviceClearCacheResponse:
		s.CacheCleared(addr(m.GetAddress()), m.GetSuccess(), m.GetError())
	case *apipb.BluetoothSetConnectionParamsResponse:
		s.ConnectionParamsSet(addr(m.GetAddress()), m.GetError())
	case *apipb.BluetoothLERawAdvertisementsResponse:
		var batch []ble.RawAdvert
		for _, a := range m.GetAdvertisements() {
			batch = append(batch, ble.RawAdvert{Address: addr(a.GetAddress()), Type: ble.AddressType(a.GetAddressType()),
				RSSI: int8(a.GetRssi()), Data: a.GetData()})
		}
		s.RawAdverts(batch)
	default:
		return false
	}
	return true
}
