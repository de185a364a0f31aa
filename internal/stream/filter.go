package stream

import (
	"encoding/binary"
	"path"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
)

// filter decides which devices are published.
type filter struct {
	all       bool
	addresses map[ble.Address]bool
	uuids     map[ble.UUID]bool
	companies map[uint16]bool
	names     []string
}

func newFilter(f config.StreamFilter) *filter {
	out := &filter{
		all: f.Empty(), addresses: map[ble.Address]bool{}, uuids: map[ble.UUID]bool{}, companies: map[uint16]bool{}, names: f.Names,
	}
	for _, a := range f.Addresses {
		out.addresses[a] = true
	}
	for _, u := range f.UUIDs {
		out.uuids[u] = true
	}
	for _, c := range f.Companies {
		out.companies[c] = true
	}
	return out
}

// passes reports whether one advertisement of a device fits an entry.
func (f *filter) passes(a *ble.RawAdvert) bool {
	if f.all || f.addresses[a.Address] {
		return true
	}
	for ad := range ble.Structures(a.Data) {
		switch ad.Type {
		case ble.ADManufacturerData:
			if len(ad.Data) >= 2 && f.companies[binary.LittleEndian.Uint16(ad.Data)] {
				return true
			}
		case ble.ADName, ble.ADNameShort, ble.ADBroadcastName:
			if len(f.names) > 0 && f.named(ble.CleanName(string(ad.Data))) {
				return true
			}
		default:
			size, data := ble.UUIDsOf(ad.Type)
			for rest := ad.Data; size > 0 && len(rest) >= size; rest = rest[size:] {
				if f.uuids[ble.UUIDFromAir(rest[:size])] {
					return true
				}
				if data {
					break
				}
			}
		}
	}
	return false
}

func (f *filter) named(name string) bool {
	for _, pattern := range f.names {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}
