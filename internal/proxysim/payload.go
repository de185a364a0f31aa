package proxysim

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"bluez-esphome/internal/ble"
)

// maxPayload is the room in one legacy advertisement, and in one scan
// response (Bluetooth Core, Vol 6 Part B, 2.3.1).
const maxPayload = 31

const (
	maxShortUUID      = 0xffff
	defaultInterval   = 1000
	minimumIntervalMS = 20
)

// payload gives the advertisement and the scan response of s.
func (s *AdvertSpec) payload() (adv, scanRsp []byte, err error) {
	if s.RawAdvertisement != nil || s.RawScanResponse != nil {
		if s.RawAdvertisement != nil {
			adv = *s.RawAdvertisement
		}
		if s.RawScanResponse != nil {
			scanRsp = *s.RawScanResponse
		}
	} else if adv, scanRsp, err = s.build(); err != nil {
		return nil, nil, err
	}
	return adv, scanRsp, checkPayload(adv, scanRsp)
}

func checkPayload(adv, scanRsp []byte) error {
	if len(adv) > maxPayload || len(scanRsp) > maxPayload {
		return fmt.Errorf("cannot advertise %d and %d bytes: an advertisement and a scan response have %d each",
			len(adv), len(scanRsp), maxPayload)
	}
	return nil
}

// build puts the fields into the advertisement as long as they fit and the
// others into the scan response.
func (s *AdvertSpec) build() (adv, scanRsp []byte, err error) {
	put := func(kind byte, data []byte) {
		ad := append([]byte{byte(len(data) + 1), kind}, data...)
		if len(adv)+len(ad) <= maxPayload {
			adv = append(adv, ad...)
		} else {
			scanRsp = append(scanRsp, ad...)
		}
	}
	if s.Flags != nil {
		put(ble.ADFlags, []byte{*s.Flags})
	}
	byKind := map[byte][]byte{}
	for _, u := range s.ServiceUUIDs {
		kind, b := uuidBytes(u, ble.ADUUID16, ble.ADUUID32, ble.ADUUID128)
		byKind[kind] = append(byKind[kind], b...)
	}
	for _, kind := range []byte{ble.ADUUID16, ble.ADUUID32, ble.ADUUID128} {
		if len(byKind[kind]) > 0 {
			put(kind, byKind[kind])
		}
	}
	if s.TxPower != nil {
		put(ble.ADTxPower, []byte{byte(*s.TxPower)})
	}
	if s.Appearance != nil {
		put(ble.ADAppearance, binary.LittleEndian.AppendUint16(nil, *s.Appearance))
	}
	for _, key := range sortedKeys(s.ManufacturerData) {
		company, err := strconv.ParseUint(key, 10, 16)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot parse company %q: want a decimal number up to 65535", key)
		}
		put(ble.ADManufacturerData, append(binary.LittleEndian.AppendUint16(nil, uint16(company)), s.ManufacturerData[key]...))
	}
	for _, key := range sortedKeys(s.ServiceData) {
		u, err := ble.ParseUUID(key)
		if err != nil {
			return nil, nil, err
		}
		kind, b := uuidBytes(u, ble.ADServiceData16, ble.ADServiceData32, ble.ADServiceData128)
		put(kind, append(b, s.ServiceData[key]...))
	}
	if name := s.LocalName; name != "" {
		kind := byte(ble.ADName)
		if room := maxPayload - len(scanRsp) - 2; len(name) > max(room, maxPayload-len(adv)-2) {
			name, kind = name[:max(0, room)], ble.ADNameShort
		}
		put(kind, []byte(name))
	}
	return adv, scanRsp, nil
}

// uuidBytes gives u in its shortest over-the-air form and the AD type for it.
func uuidBytes(u ble.UUID, kind16, kind32, kind128 byte) (byte, []byte) {
	if v, ok := u.Short(); ok && v <= maxShortUUID {
		return kind16, binary.LittleEndian.AppendUint16(nil, uint16(v))
	} else if ok {
		return kind32, binary.LittleEndian.AppendUint32(nil, v)
	}
	b := slices.Clone(u[:])
	slices.Reverse(b)
	return kind128, b
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
