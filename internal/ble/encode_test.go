package ble_test

import (
	"encoding/binary"
	"slices"

	"bluez-esphome/internal/ble"
)

// maxADData is the most that one AD structure holds besides its type.
const maxADData = 254

// encodeAdvertisement is the reverse of ble.ParseAdvertisement: it builds AD structures from the fields of an
// advertisement (those of message 67 of the ESPHome native API), in their order. The result may be longer than an
// advertisement on the air. A record of more than 254 bytes has no encoding and is left out.
func encodeAdvertisement(name []byte, uuids []ble.UUID, serviceData []ble.ServiceData, manufacturer []ble.ManufacturerData) []byte {
	var out []byte
	for len(uuids) > 0 {
		run, size := 0, airSize(uuids[0])
		for run < len(uuids) && airSize(uuids[run]) == size && (run+1)*size <= maxADData {
			run++
		}
		out = append(out, byte(1+run*size), sizedType(size, ble.ADUUID16, ble.ADUUID32, ble.ADUUID128))
		for _, u := range uuids[:run] {
			out = appendAirUUID(out, u)
		}
		uuids = uuids[run:]
	}
	for _, d := range serviceData {
		size := airSize(d.UUID)
		if size+len(d.Data) > maxADData {
			continue
		}
		out = append(out, byte(1+size+len(d.Data)), sizedType(size, ble.ADServiceData16, ble.ADServiceData32, ble.ADServiceData128))
		out = append(appendAirUUID(out, d.UUID), d.Data...)
	}
	for _, d := range manufacturer {
		if 2+len(d.Data) > maxADData {
			continue
		}
		out = append(out, byte(3+len(d.Data)), ble.ADManufacturerData, byte(d.Company), byte(d.Company>>8))
		out = append(out, d.Data...)
	}
	if len(name) > 0 && len(name) <= maxADData {
		out = append(append(out, byte(1+len(name)), ble.ADName), name...)
	}
	return out
}

// airSize is the shortest form of u on the air: 2, 4 or 16 bytes.
func airSize(u ble.UUID) int {
	v, short := u.Short()
	switch {
	case !short:
		return 16
	case v > 0xffff:
		return 4
	}
	return 2
}

func sizedType(size int, t16, t32, t128 byte) byte {
	switch size {
	case 2:
		return t16
	case 4:
		return t32
	}
	return t128
}

func appendAirUUID(out []byte, u ble.UUID) []byte {
	v, _ := u.Short()
	switch airSize(u) {
	case 2:
		return binary.LittleEndian.AppendUint16(out, uint16(v))
	case 4:
		return binary.LittleEndian.AppendUint32(out, v)
	}
	slices.Reverse(u[:])
	return append(out, u[:]...)
}
