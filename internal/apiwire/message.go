package apiwire

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
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

// RawAdvert is one entry of message 93 without the cost of a generated message.
type RawAdvert struct {
	Address     uint64
	RSSI        int32 // dBm
	AddressType uint32
	Data        []byte // refers to the payload it was decoded from
}

// Field numbers of BluetoothLERawAdvertisementsResponse and its entries.
const (
	fieldAdvertisements = 1
	fieldAdvAddress     = 1
	fieldAdvRSSI        = 2
	fieldAdvAddressType = 3
	fieldAdvData        = 4
)

// AppendRawAdvert appends one entry of message 93 in the firmware's encoding;
// a payload is a sequence of them.
func AppendRawAdvert(dst []byte, a RawAdvert) []byte {
	rssi := protowire.EncodeZigZag(int64(a.RSSI))
	size := 1 + protowire.SizeVarint(a.Address) + 1 + protowire.SizeVarint(rssi) + 1 + protowire.SizeBytes(len(a.Data))
	if a.AddressType != 0 {
		size += 1 + protowire.SizeVarint(uint64(a.AddressType))
	}
	dst = protowire.AppendTag(dst, fieldAdvertisements, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = protowire.AppendTag(dst, fieldAdvAddress, protowire.VarintType)
	dst = protowire.AppendVarint(dst, a.Address)
	dst = protowire.AppendTag(dst, fieldAdvRSSI, protowire.VarintType)
	dst = protowire.AppendVarint(dst, rssi)
	if a.AddressType != 0 {
		dst = protowire.AppendTag(dst, fieldAdvAddressType, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(a.AddressType))
	}
	dst = protowire.AppendTag(dst, fieldAdvData, protowire.BytesType)
	return protowire.AppendBytes(dst, a.Data)
}

// NextRawAdvert decodes the first entry of a message 93 payload and returns
// the rest. ok is false at the end and at the first malformed byte; then the
// error is a *ProtocolError, else nil. It does not allocate.
func NextRawAdvert(payload []byte) (a RawAdvert, rest []byte, ok bool, err error) {
	for len(payload) > 0 {
		num, typ, n := consumeTag(payload)
		if n < 0 {
			return a, nil, false, errRawAdvert
		}
		payload = payload[n:]
		if num != fieldAdvertisements || typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, payload); n < 0 {
				return a, nil, false, errRawAdvert
			}
			payload = payload[n:]
			continue
		}
		body, n := consumeBytes(payload)
		if n < 0 || !a.decode(body) {
			return a, nil, false, errRawAdvert
		}
		return a, payload[n:], true, nil
	}
	return a, nil, false, nil
}

// errRawAdvert is shared: the advertisement path must not allocate for bad input either.
var errRawAdvert = &ProtocolError{Detail: "BluetoothLERawAdvertisementsResponse cannot be decoded"}

func (a *RawAdvert) decode(b []byte) bool {
	for len(b) > 0 {
		num, typ, n := consumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch {
		case num == fieldAdvData && typ == protowire.BytesType:
			a.Data, n = consumeBytes(b)
		case num <= fieldAdvAddressType && typ == protowire.VarintType:
			var v uint64
			v, n = consumeVarint(b)
			switch num {
			case fieldAdvAddress:
				a.Address = v
			case fieldAdvRSSI:
				a.RSSI = int32(protowire.DecodeZigZag(v & 0xffffffff))
			case fieldAdvAddressType:
				a.AddressType = uint32(v)
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// consumeTag is protowire.ConsumeTag, and short where the tag is. b is not empty.
func consumeTag(b []byte) (protowire.Number, protowire.Type, int) {
	if b[0] >= 1<<3 && b[0] < 0x80 {
		return protowire.Number(b[0] >> 3), protowire.Type(b[0] & 7), 1
	}
	return protowire.ConsumeTag(b)
}

// consumeBytes is protowire.ConsumeBytes, and short where the length is.
func consumeBytes(b []byte) ([]byte, int) {
	if len(b) > 0 && b[0] < 0x80 {
		if end := 1 + int(b[0]); end <= len(b) {
			return b[1:end:end], end
		}
	}
	return protowire.ConsumeBytes(b)
}

// consumeVarint is protowire.ConsumeVarint, and short where the number is.
func consumeVarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return protowire.ConsumeVarint(b)
}
