package apiwire

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"bluez-esphome/internal/apiwire/apipb"
)

// Unmarshal decodes the payload of a frame. It skips unknown fields, accepts
// repeated numbers packed or not, and takes strings that are not UTF-8 as they
// are. The message does not refer to payload. The error is a *ProtocolError.
func Unmarshal(id ID, payload []byte) (proto.Message, error) {
	m := New(id)
	if m == nil {
		return nil, &ProtocolError{Detail: fmt.Sprintf("%v is unknown", id)}
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(payload, m); err != nil {
		return nil, &ProtocolError{Detail: fmt.Sprintf("%v cannot be decoded", id)}
	}
	return m, nil
}

// MarshalFirmware encodes m as ESPHome's firmware does. It differs from the
// canonical encoding in that repeated 64-bit numbers are not packed and raw
// advertisements carry address, rssi and data even when they are zero.
func MarshalFirmware(m proto.Message) ([]byte, error) {
	return appendFirmware(nil, m)
}

func appendFirmware(dst []byte, m proto.Message) ([]byte, error) {
	if batch, ok := m.(*apipb.BluetoothLERawAdvertisementsResponse); ok {
		for _, a := range batch.Advertisements {
			dst = AppendRawAdvert(dst, RawAdvert{
				Address: a.GetAddress(), RSSI: a.GetRssi(), AddressType: a.GetAddressType(), Data: a.GetData(),
			})
		}
		return dst, nil
	}
	// The unpacked numbers are in the schema (api.proto).
	dst, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, m)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %v: %w", IDOf(m), err)
	}
	return dst, nil
}
