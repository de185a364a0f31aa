package apiwire

import "google.golang.org/protobuf/encoding/protowire"

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

// DecodeRawAdvert decodes the first entry of a message 93 payload into *a and gives its size, with which the next one
// begins. The size is 0 at the end and at the first malformed byte; then the error is a *ProtocolError, else nil. It
// does not allocate.
func DecodeRawAdvert(payload []byte, a *RawAdvert) (size int, err error) {
	for b := payload; len(b) > 0; {
		if n := a.decodeUsual(b); n > 0 {
			return len(payload) - len(b) + n, nil
		}
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, errRawAdvert
		}
		b = b[n:]
		if num == fieldAdvertisements && typ == protowire.BytesType {
			body, n := protowire.ConsumeBytes(b)
			if n < 0 || !a.decode(body) {
				return 0, errRawAdvert
			}
			return len(payload) - len(b) + n, nil
		}
		n = protowire.ConsumeFieldValue(num, typ, b)
		if n < 0 {
			return 0, errRawAdvert
		}
		b = b[n:]
	}
	return 0, nil
}

// errRawAdvert is shared: the advertisement path must not allocate for bad input either.
var errRawAdvert = &ProtocolError{Detail: "BluetoothLERawAdvertisementsResponse cannot be decoded"}

// Tags of those fields.
const (
	tagAdvertisement = fieldAdvertisements<<3 | byte(protowire.BytesType)
	tagAddress       = fieldAdvAddress<<3 | byte(protowire.VarintType)
	tagRSSI          = fieldAdvRSSI<<3 | byte(protowire.VarintType)
	tagAddressType   = fieldAdvAddressType<<3 | byte(protowire.VarintType)
	tagData          = fieldAdvData<<3 | byte(protowire.BytesType)
)

// decodeUsual decodes an entry as the firmware encodes it: its fields in order, lengths of one byte. It gives the
// entry's size, 0 if it is anything else.
func (a *RawAdvert) decodeUsual(b []byte) int {
	if len(b) < 2 || b[0] != tagAdvertisement || b[1] >= 0x80 || len(b) < 2+int(b[1]) {
		return 0
	}
	end := 2 + int(b[1])
	b = b[:end]
	address, i := usualField(b, 2, tagAddress)
	rssi, i := usualField(b, i, tagRSSI)
	var addressType uint64
	if i > 0 && i < len(b) && b[i] == tagAddressType {
		addressType, i = usualField(b, i, tagAddressType)
	}
	if i == 0 || i+2 > len(b) || b[i] != tagData || i+2+int(b[i+1]) != end {
		return 0
	}
	*a = RawAdvert{
		Address: address, RSSI: int32(protowire.DecodeZigZag(rssi & 0xffffffff)), AddressType: uint32(addressType), Data: b[i+2 : end : end],
	}
	return end
}

// usualField reads a number of at most 56 bits with its tag at b[i:], and gives where it ends; 0 if that is not there,
// or i is 0.
func usualField(b []byte, i int, tag byte) (v uint64, end int) {
	if i == 0 || i >= len(b) || b[i] != tag {
		return 0, 0
	}
	i++
	for shift := 0; i < len(b) && shift < 56; shift += 7 {
		c := b[i]
		i++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, i
		}
	}
	return 0, 0
}

func (a *RawAdvert) decode(b []byte) bool {
	*a = RawAdvert{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch {
		case num == fieldAdvData && typ == protowire.BytesType:
			a.Data, n = protowire.ConsumeBytes(b)
		case num <= fieldAdvAddressType && typ == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
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
