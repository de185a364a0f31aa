package ble

import (
	"bytes"
	"encoding/binary"
	"iter"
	"slices"
)

// AD types (Bluetooth Assigned Numbers, 2.3) that the program tells apart.
const (
	ADFlags            = 0x01
	ADUUID16Partial    = 0x02
	ADUUID16           = 0x03
	ADUUID32Partial    = 0x04
	ADUUID32           = 0x05
	ADUUID128Partial   = 0x06
	ADUUID128          = 0x07
	ADNameShort        = 0x08
	ADName             = 0x09
	ADTxPower          = 0x0a
	ADServiceData16    = 0x16
	ADAppearance       = 0x19
	ADServiceData32    = 0x20
	ADServiceData128   = 0x21
	ADBroadcastName    = 0x30
	ADManufacturerData = 0xff
)

// Flags bits (Core Specification Supplement, Part A, 1.3).
const (
	FlagLimitedDiscoverable = 0x01
	FlagGeneralDiscoverable = 0x02
)

// txPowerUnknown is what controllers send for "not available"; bluetoothd
// 5.87 shows no TxPower for it.
const txPowerUnknown = 127

// Structures walks the AD structures of raw in order. It survives any input:
// padding (length 0) and type 0 are skipped, structures without data are skipped,
// and one that runs past the end stops the walk with all before it kept. Data
// is part of raw.
func Structures(raw []byte) iter.Seq[ADStructure] {
	return func(yield func(ADStructure) bool) {
		for i := 0; i+1 < len(raw); {
			n := int(raw[i])
			if n == 0 {
				i++
				continue
			}
			end := i + 1 + n
			if end > len(raw) {
				return
			}
			if typ := raw[i+1]; typ != 0 && n > 1 {
				if !yield(ADStructure{Type: typ, Data: raw[i+2 : end]}) {
					return
				}
			}
			i = end
		}
	}
}

// Structures walks the AD structures that a was parsed from, in order.
func (a *Advertisement) Structures() iter.Seq[ADStructure] { return Structures(a.Raw) }

// ParseAdvertisement reads the AD structures of one advertisement, with its scan
// response behind it if the proxy merged them. It never fails: what is
// malformed is left out. raw is copied.
//
// A complete name beats a shortened one; of several complete names the last
// wins, of several shortened ones the first; a Broadcast Name counts where there is
// no other. A repeated company or service data UUID keeps its place and takes the last
// value. TxPower 127 means "not available": TxPower is set, HasTxPower is not.
func ParseAdvertisement(raw []byte) *Advertisement {
	a := &Advertisement{Raw: bytes.Clone(raw)}
	if a.Raw == nil {
		a.Raw = []byte{}
	}
	var broadcastName []byte
	for s := range Structures(a.Raw) {
		switch s.Type {
		case ADFlags:
			a.Flags, a.HasFlags = s.Data[0], true
		case ADNameShort:
			if a.Name == "" {
				a.Name = string(s.Data)
			}
		case ADName:
			a.Name, a.NameComplete = string(s.Data), true
		case ADBroadcastName:
			broadcastName = s.Data
		case ADTxPower:
			if len(s.Data) == 1 {
				a.TxPower, a.HasTxPower = TxPower(s.Data)
			}
		case ADAppearance:
			if len(s.Data) >= 2 {
				a.Appearance, a.HasAppearance = binary.LittleEndian.Uint16(s.Data), true
			}
		case ADManufacturerData:
			a.addManufacturerData(s.Data)
		default:
			size, data := UUIDsOf(s.Type)
			switch {
			case data:
				a.addServiceData(s.Data, size)
			case size > 0:
				a.addUUIDs(s.Data, size)
			default:
				a.addOther(s)
			}
		}
	}
	if a.Name == "" && broadcastName != nil {
		a.Name, a.NameComplete = string(broadcastName), true
	}
	return a
}

// TxPower reads the data of an AD structure of that type, in dBm. It is not known where the length is wrong or the value says so.
func TxPower(data []byte) (power int8, known bool) {
	if len(data) != 1 {
		return 0, false
	}
	power = int8(data[0])
	return power, power != txPowerUnknown
}

// UUIDsOf is how many bytes each UUID has in AD structures of a type, 0 if they have none, and whether there is one UUID
// only, with data behind it.
func UUIDsOf(adType uint8) (size int, data bool) {
	switch adType {
	case ADUUID16Partial, ADUUID16:
		return 2, false
	case ADUUID32Partial, ADUUID32:
		return 4, false
	case ADUUID128Partial, ADUUID128:
		return 16, false
	case ADServiceData16:
		return 2, true
	case ADServiceData32:
		return 4, true
	case ADServiceData128:
		return 16, true
	}
	return 0, false
}

// UUIDFromAir reads a little-endian UUID of 2, 4 or 16 bytes.
func UUIDFromAir(b []byte) UUID {
	switch len(b) {
	case 2:
		return UUID16(binary.LittleEndian.Uint16(b))
	case 4:
		return UUID32(binary.LittleEndian.Uint32(b))
	}
	u := UUID(b)
	slices.Reverse(u[:])
	return u
}

// addUUIDs drops a partial UUID at the end and those already known: Device1.UUIDs is a set.
func (a *Advertisement) addUUIDs(b []byte, size int) {
	for ; len(b) >= size; b = b[size:] {
		if u := UUIDFromAir(b[:size]); !slices.Contains(a.ServiceUUIDs, u) {
			a.ServiceUUIDs = append(a.ServiceUUIDs, u)
		}
	}
}

func (a *Advertisement) addServiceData(b []byte, size int) {
	if len(b) < size {
		return
	}
	d := ServiceData{UUID: UUIDFromAir(b[:size]), Data: b[size:]}
	if i := slices.IndexFunc(a.ServiceData, func(x ServiceData) bool { return x.UUID == d.UUID }); i >= 0 {
		a.ServiceData[i] = d
		return
	}
	a.ServiceData = append(a.ServiceData, d)
}

func (a *Advertisement) addManufacturerData(b []byte) {
	if len(b) < 2 {
		return
	}
	d := ManufacturerData{Company: binary.LittleEndian.Uint16(b), Data: b[2:]}
	if i := slices.IndexFunc(a.ManufacturerData, func(x ManufacturerData) bool { return x.Company == d.Company }); i >= 0 {
		a.ManufacturerData[i] = d
		return
	}
	a.ManufacturerData = append(a.ManufacturerData, d)
}

func (a *Advertisement) addOther(s ADStructure) {
	if !shownRaw(s.Type) {
		return
	}
	if i := slices.IndexFunc(a.Other, func(x ADStructure) bool { return x.Type == s.Type }); i >= 0 {
		a.Other[i] = s
		return
	}
	a.Other = append(a.Other, s)
}

// shownRaw reports whether bluetoothd 5.87 shows an AD type in
// AdvertisingData: those that it does not read itself and that carry nothing which a
// program should not see (keys, addresses, pairing and mesh data). Unassigned types are shown.
func shownRaw(typ uint8) bool {
	switch {
	case typ >= 0x0d && typ <= 0x12, // class, pairing hashes, device id, TK, OOB flags, interval range
		typ == 0x14, typ == 0x15, typ == 0x1f, // solicitation
		typ >= 0x17 && typ <= 0x1e, // target addresses, appearance, interval, address, role, P-256 pairing
		typ == 0x22, typ == 0x23,   // LE secure connections OOB
		typ >= 0x27 && typ <= 0x2b, // features, channel map, PB-ADV, mesh
		typ == 0x2d,                // broadcast code, a key
		typ == 0x3d:                // 3D information
		return false
	}
	return true
}
