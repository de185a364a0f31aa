package bluezshim

import (
	"bluez-esphome/internal/ble"

	"github.com/godbus/dbus/v5"
)

// discoveryFilterKeys is what GetDiscoveryFilters answers, in bluetoothd 5.87's order.
var discoveryFilterKeys = []string{"UUIDs", "RSSI", "Pathloss", "Transport", "DuplicateData", "Discoverable", "Pattern", "AutoConnect"}

// Limits of a filter. The numbers are bluetoothd 5.87's; the counts bound what a caller can
// make every advertisement be compared with.
const (
	minFilterRSSI, maxFilterRSSI = -127, 20
	maxFilterPathloss            = 137
	maxFilterUUIDs               = 256
	maxFilterPattern             = 256
)

// parseDiscoveryFilter reads the dictionary of SetDiscoveryFilter (bluetoothd 5.87): an unknown key, a
// wrong type, a value out of range, or RSSI and Pathloss together are invalid. given is false for an empty dictionary.
func parseDiscoveryFilter(body any) (f ble.DiscoveryFilter, given bool, err error) {
	dict, ok := body.(map[string]dbus.Variant)
	if !ok {
		return f, false, errInvalidArguments
	}
	for key, v := range dict {
		if !parseFilterKey(&f, key, v.Value()) {
			return f, false, errInvalidArguments
		}
	}
	if f.HasRSSI && f.HasPathloss {
		return f, false, errInvalidArguments
	}
	return f, len(dict) > 0, nil
}

func parseFilterKey(f *ble.DiscoveryFilter, key string, value any) (ok bool) {
	switch key {
	case "UUIDs":
		return parseFilterUUIDs(f, value)
	case "RSSI":
		f.RSSI, f.HasRSSI = value.(int16)
		return f.HasRSSI && f.RSSI >= minFilterRSSI && f.RSSI <= maxFilterRSSI
	case "Pathloss":
		f.Pathloss, f.HasPathloss = value.(uint16)
		return f.HasPathloss && f.Pathloss <= maxFilterPathloss
	case "Transport":
		switch value {
		case "auto":
			f.Transport = ble.TransportAuto
		case "le":
			f.Transport = ble.TransportLE
		case "bredr":
			f.Transport = ble.TransportBREDR
		default:
			return false
		}
		return true
	case "DuplicateData":
		f.DuplicateData, ok = value.(bool)
	case "Discoverable":
		f.Discoverable, ok = value.(bool)
	case "Pattern":
		f.Pattern, f.HasPattern = value.(string)
		ok = f.HasPattern && len(f.Pattern) <= maxFilterPattern
	case "AutoConnect":
		f.AutoConnect, ok = value.(bool)
	}
	return ok
}

func parseFilterUUIDs(f *ble.DiscoveryFilter, value any) bool {
	list, ok := value.([]string)
	if !ok || len(list) > maxFilterUUIDs {
		return false
	}
	for _, s := range list {
		u, err := ble.ParseUUID(s)
		if err != nil {
			return false
		}
		f.UUIDs = append(f.UUIDs, u)
	}
	return true
}
