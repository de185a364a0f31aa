package apiconn

import (
	"encoding/binary"
	"strconv"
	"strings"

	"bluez-esphome/internal/apiwire"
	"bluez-esphome/internal/apiwire/apipb"
	"bluez-esphome/internal/ble"
)

// maxAdvert bounds one advertisement in bytes; legacy advertising with its scan response has 62.
const maxAdvert = 255

// rawAdverts passes the advertisements of a message 93 on. Up to a usual size it allocates nothing.
func (s *session) rawAdverts(payload []byte) {
	if !s.up {
		return
	}
	batch := s.adverts[:0]
	var a apiwire.RawAdvert
	for {
		n, err := apiwire.DecodeRawAdvert(payload, &a)
		if err != nil {
			s.p.explain("Skipped advertisements", err)
		}
		if n == 0 {
			break
		}
		payload = payload[n:]
		if len(a.Data) > maxAdvert {
			continue
		}
		batch = append(batch, ble.RawAdvert{
			Address: ble.AddressFromWire(a.Address), Type: ble.AddressType(a.AddressType & 3), RSSI: rssi(a.RSSI), Data: a.Data,
		})
	}
	s.adverts = batch
	if len(batch) > 0 {
		s.pass(batch)
	}
}

// pass hands adverts to the Handler with the time at which their bytes came.
func (s *session) pass(batch []ble.RawAdvert) {
	read := s.lastRead.Load()
	s.lastAdvert.Store(read)
	if !s.hears || s.deaf.Load() || s.probe.used.Load() {
		s.hearing()
	}
	s.p.cfg.Handler.Adverts(s.p, s.at(read), batch)
}

// rssi is 0 for one that is not known, whatever the proxy calls that.
func rssi(v int32) int8 {
	if !ble.KnownRSSI(int(v)) {
		return 0
	}
	return int8(v)
}

// Bounds of an advertisement that the proxy decoded.
const (
	maxADData   = 254
	maxEncoded  = 1024 // of one advert; a peer may claim more
	maxElements = 64
)

// decodedAdvert passes on a message 67, which firmware without RAW_ADVERTISEMENTS sends, as AD structures. Flags and TX
// power are lost: the proxy does not send them.
func (s *session) decodedAdvert(m *apipb.BluetoothLEAdvertisementResponse) {
	if !s.up {
		return
	}
	out := s.decoded[:0]
	var uuids [3][]byte
	for _, text := range m.GetServiceUuids()[:min(len(m.GetServiceUuids()), maxElements)] {
		if u, err := ble.ParseUUID(text); err == nil {
			b, size := wireUUID(u)
			uuids[size] = append(uuids[size], b...)
		}
	}
	for size, list := range uuids {
		width := [3]int{2, 4, 16}[size]
		for limit := maxADData / width * width; len(list) > 0; {
			n := min(len(list), limit)
			out = appendAD(out, [3]byte{ble.ADUUID16, ble.ADUUID32, ble.ADUUID128}[size], list[:n])
			list = list[n:]
		}
	}
	if name := m.GetName(); len(name) > 0 {
		out = appendAD(out, ble.ADName, name)
	}
	for i, d := range serviceData(m.GetServiceData()) {
		if u, err := ble.ParseUUID(m.GetServiceData()[i].GetUuid()); err == nil {
			b, size := wireUUID(u)
			out = appendAD(out, [3]byte{ble.ADServiceData16, ble.ADServiceData32, ble.ADServiceData128}[size], b, d)
		}
	}
	for i, d := range serviceData(m.GetManufacturerData()) {
		text := strings.TrimPrefix(strings.ToLower(m.GetManufacturerData()[i].GetUuid()), "0x")
		if company, err := strconv.ParseUint(text, 16, 16); err == nil {
			out = appendAD(out, ble.ADManufacturerData, binary.LittleEndian.AppendUint16(nil, uint16(company)), d)
		}
	}
	s.decoded = out
	s.adverts = append(s.adverts[:0], ble.RawAdvert{
		Address: ble.AddressFromWire(m.GetAddress()), Type: ble.AddressType(m.GetAddressType() & 3), RSSI: rssi(m.GetRssi()), Data: out,
	})
	s.pass(s.adverts)
}

// serviceData returns the data of each record; before API 1.7 it is in
// legacy_data, which counts if the first record's data is empty.
func serviceData(list []*apipb.BluetoothServiceData) [][]byte {
	list = list[:min(len(list), maxElements)]
	legacy := len(list) > 0 && len(list[0].GetData()) == 0
	out := make([][]byte, len(list))
	for i, d := range list {
		if !legacy {
			out[i] = d.GetData()
			continue
		}
		for _, v := range d.GetLegacyData()[:min(len(d.GetLegacyData()), maxADData)] {
			out[i] = append(out[i], byte(v))
		}
	}
	return out
}

// wireUUID gives the shortest little-endian form of u; size 0, 1 and 2 are 16, 32 and 128 bits.
func wireUUID(u ble.UUID) (b []byte, size int) {
	if v, ok := u.Short(); ok {
		if v <= 0xffff {
			return binary.LittleEndian.AppendUint16(nil, uint16(v)), 0
		}
		return binary.LittleEndian.AppendUint32(nil, v), 1
	}
	b = make([]byte, 16)
	for i := range b {
		b[i] = u[15-i]
	}
	return b, 2
}

// appendAD appends one AD structure, or nothing if it does not fit.
func appendAD(dst []byte, typ byte, parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size > maxADData || len(dst)+size > maxEncoded {
		return dst
	}
	dst = append(dst, byte(size+1), typ)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}
